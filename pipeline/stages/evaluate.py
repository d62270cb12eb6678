"""evaluate: Prepared + Model -> Evaluation."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts import Evaluation, Model, Prepared
from pipeline.config import Config
from pipeline.metrics.intervals import Interval, as_json
from pipeline.metrics.score import confusion_matrix, label_matrices, per_class, score
from pipeline.metrics.tasks import class_metrics
from pipeline.reporting.answers import labels_figure
from pipeline.reporting.figures import confusion_figure, residual_figure
from pipeline.reporting.predictions import write_predictions
from pipeline.reporting.test_reads import record_read
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.deployed import answers, deployable_of
from serving.answers import LABEL_FROM
from serving.files import write_atomic
from serving.schema import Array, Schema


def run(config: Config, prepared: Prepared, model: Model, *, out: Path, tracker: Tracker) -> Outcome:
    """Score the model on `evaluate.split`, through the same module that is exported."""
    section, schema = config.evaluate, prepared.schema
    reads = record_read(prepared, model) if section.split == "test" else None
    inputs, targets = prepared.split(section.split)
    given = answers(deployable_of(prepared, model), inputs)

    scored = score(given, targets, schema, confidence=section.confidence, resamples=section.resamples, seed=config.seed)
    result: dict[str, Any] = {
        "split": section.split,
        "rows": len(targets),
        "confidence": section.confidence,
        "metrics": as_json(scored),
    }
    result |= _in_detail(given, targets, schema, section.confidence)
    _draw(out, result, given, targets, schema)
    rows, files = prepared.row_numbers(section.split), prepared.files_of(section.split)
    write_predictions(out / "predictions.csv", rows, given, targets, schema, files=files)
    if reads is not None:
        result["test_reads"] = {"count": reads, "allowed": section.test_reads, "exceeded": reads > section.test_reads}
        tracker.event("test_split_read", count=reads)
    write_atomic(out / Evaluation.METRICS, msgspec.json.format(msgspec.json.encode(result), indent=2))

    metrics = {f"{section.split}/{name}": interval.value for name, interval in scored.items()}
    metrics |= _finite_bounds(scored, section.split)
    tracker.metrics(metrics)
    head = scored[schema.headline]
    summary = f"{section.split} {schema.headline} {head.value:.4g} [{head.low:.4g}, {head.high:.4g}] on {len(targets)} rows"
    if reads is not None and reads > section.test_reads:
        summary += (
            f"; read {reads} of the same test split, so the number grows optimistic (evaluate.test_reads={section.test_reads})"
        )
    return Outcome(summary, metrics=metrics)


def _in_detail(given: Array, targets: NDArray[Any], schema: Schema, confidence: float) -> dict[str, Any]:
    """Return what there is to say about each class or label; nothing of values."""
    if schema.task == "regression":
        return {}
    if schema.task == "multilabel":
        matrices = label_matrices(given, targets)
        table = per_class(matrices, schema.classes, confidence=confidence)
        return {"threshold": LABEL_FROM, "per_class": table, "confusion_matrices": matrices.tolist()}
    matrix = confusion_matrix(given, targets, schema.outputs)
    return {"per_class": per_class(matrix, schema.classes, confidence=confidence), "confusion_matrix": matrix.tolist()}


def _draw(out: Path, result: dict[str, Any], given: Array, targets: NDArray[Any], schema: Schema) -> None:
    title = f"{result['split']} split, {len(targets)} rows"
    match schema.task:
        case "classification":
            confusion_figure(out / "confusion.png", np.array(result["confusion_matrix"]), schema.classes, title=title)
        case "multilabel":
            shares = class_metrics(torch.from_numpy(given), torch.from_numpy(targets))
            labels_figure(out / "labels.png", shares, schema.classes, title=f"{title}, threshold {LABEL_FROM:g}")
        case "regression":
            names = schema.targets or (schema.target,)
            residual_figure(out / "residuals.png", given, targets.reshape(given.shape), names=names, title=title)


def _finite_bounds(scored: dict[str, Interval], split: str) -> dict[str, float]:
    bounds = {f"{split}/{name}.{side}": getattr(value, side) for name, value in scored.items() for side in ("low", "high")}
    return {name: bound for name, bound in bounds.items() if np.isfinite(bound)}
