"""How good an artifact's answers are, beside the float model's on the same rows."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.measuring.rows import ClassRecall
from pipeline.metrics.intervals import Interval
from pipeline.metrics.paired import PairedDrop, outputs_drop, paired_drop
from pipeline.metrics.score import confusion_matrix, label_matrices, score
from serving.schema import Array, Schema


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a row that follows from its answers; nothing but `nonfinite_rows` where an answer is not finite."""

    nonfinite_rows: int | None = None
    metric: float | None = None
    metrics: dict[str, Interval] = {}
    drop: PairedDrop | None = None
    outputs: list[PairedDrop] = []
    classes: list[ClassRecall] = []


def quality(
    given: Array, before: Array, targets: NDArray[Any], schema: Schema, *, confidence: float, resamples: int, seed: int
) -> Quality:
    """Score answers, (rows, outputs), whose rows the float model answered with `before`."""
    broken = int((~np.isfinite(given).all(axis=1)).sum())
    if broken:  # a metric of the other rows would be that of an easier problem
        return Quality(nonfinite_rows=broken)
    sure: Any = {"confidence": confidence, "resamples": resamples, "seed": seed}
    scored = score(given, targets, schema, confidence=confidence, resamples=resamples, seed=seed)
    return Quality(
        nonfinite_rows=0,
        metric=scored[schema.headline].value,
        metrics=scored,
        drop=paired_drop(given, before, targets, schema, **sure),
        outputs=outputs_drop(given, before, targets, schema.targets, **sure),
        classes=_recalls(given, before, targets, schema),
    )


def _recalls(given: Array, before: Array, targets: NDArray[Any], schema: Schema) -> list[ClassRecall]:
    if schema.task == "regression":
        return []
    hits, support = _hits(given, targets, schema)
    hits_before, _ = _hits(before, targets, schema)
    return [
        ClassRecall(
            label=label,
            support=rows,
            recall=found / rows if rows else None,
            recall_before=found_before / rows if rows else None,
        )
        for label, found, found_before, rows in zip(schema.classes, hits, hits_before, support, strict=True)
    ]


def _hits(answers: Array, targets: NDArray[Any], schema: Schema) -> tuple[list[int], list[int]]:
    """Return for each class or label how many of its rows were found, and how many there are."""
    if schema.task == "multilabel":
        matrices = label_matrices(answers, targets)
        return matrices[:, 1, 1].tolist(), matrices[:, 1].sum(axis=1).tolist()
    matrix = confusion_matrix(answers, targets, schema.outputs)
    return matrix.diagonal().tolist(), matrix.sum(axis=1).tolist()
