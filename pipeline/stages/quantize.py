"""quantize: Prepared + each Model + Exported -> Quantized."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.artifacts import Distilled, Exported, Listed, Model, Prepared, Pruned, Quantized
from pipeline.config import Config
from pipeline.config.choice_sections import Format
from pipeline.config.compression_sections import QuantizeConfig
from pipeline.exporting.bundling import tolerance_for
from pipeline.exporting.formats import RUNTIME, with_metadata
from pipeline.exporting.metadata import metadata_of
from pipeline.quantization.arithmetic import Arithmetic, of_this_machine
from pipeline.quantization.attempt import Attempt, Source, attempt
from pipeline.quantization.foreseen import Method, applies, check_quantize
from pipeline.quantization.judge import Judge
from pipeline.quantization.qat import train_quantized
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.deployed import deployable_of, joined
from pipeline.training.interrupt import Interrupt
from serving.files import sha256_of, write_atomic
from serving.schema import Array

_SAMPLE = 128  # of the calibration rows, on which each layer is measured alone


def run(
    config: Config,
    prepared: Prepared,
    model: Model,
    pruned: Pruned | None,
    distilled: Distilled | None,
    exported: Exported,
    *,
    out: Path,
    tracker: Tracker,
) -> Outcome:
    """Write each exported float model with integers of 8 bits, in each format and way, as long as the metric holds."""
    check_quantize(config)
    arithmetic = of_this_machine()
    tracker.event("arithmetic", **msgspec.to_builtins(arithmetic))
    rows = calibration_rows(prepared, config.quantize.calibration_rows, seed=config.seed)
    work = _Work(config, prepared, exported, arithmetic, rows, out, tracker)
    listed: list[Listed] = []
    story: list[dict[str, Any]] = []
    for variant in (model, pruned, distilled):
        if variant is not None:
            made = work.variant(variant)
            listed += made[0]
            story += made[1]
    told = {
        "arithmetic": msgspec.to_builtins(arithmetic),
        "rows": {"calibration": len(rows), "of": "train", "chosen_on": "validation"},
        "artifacts": story,
    }
    write_atomic(out / Quantized.QUANTIZATION, msgspec.json.format(msgspec.json.encode(told), indent=2))
    write_atomic(out / Quantized.LISTING, msgspec.json.format(msgspec.json.encode(listed), indent=2))
    return _outcome(listed, story, config.quantize)


def calibration_rows(prepared: Prepared, count: int, *, seed: int) -> Array:
    """Return train rows, (rows, *shape) raw, drawn by the seed; at least two, which an exporter needs for its example."""
    inputs, _ = prepared.open_split("train")
    chosen = np.random.default_rng(seed).permutation(len(inputs))[: max(2, count)]
    return np.ascontiguousarray(inputs[np.sort(chosen)])


@dataclass(frozen=True)
class _Work:
    """What is the same for all models."""

    config: Config
    prepared: Prepared
    exported: Exported
    arithmetic: Arithmetic
    rows: Array
    out: Path
    tracker: Tracker

    def variant(self, model: Model) -> tuple[list[Listed], list[dict[str, Any]]]:
        """Quantize one model in each format that export wrote; return what is listed, and the story of every try."""
        section, source = self.config.quantize, self._trained(model)
        there = {one.format for one in self.exported.listed if one.variant == model.variant}
        judges: dict[Format, Judge] = {form: self._judge(source, form) for form in section.formats if form in there}
        pairs = [(form, method) for form in judges for method in section.methods if applies(form, method)]
        tries = [self._try(source, form, method, judges[form]) for form, method in pairs]
        lost = [one for one in tries if one.missed]
        if lost and section.qat_epochs:
            tuned = self._tuned(model)
            tries += [self._try(tuned, one.form, one.method, judges[one.form]) for one in lost]
        listed = []
        for one in tries:
            if one.payload is not None:
                metadata = metadata_of(self.prepared, one.source.checkpoint, precision="int8")
                write_atomic(self.out / one.file, with_metadata(one.payload, one.form, metadata))
                listed.append(one.listed(judges[one.form], self.arithmetic))
                self._measured(one)
        return listed, [one.told(judges[one.form]) for one in tries]

    def _try(self, source: Source, form: Format, method: Method, judge: Judge) -> Attempt:
        self.tracker.event("working_on", what=f"{source.variant} as {form}, {method}: quantizing and measuring")
        found = attempt(
            source,
            form,
            method,
            judge,
            self.rows,
            sample=self.rows[:_SAMPLE],
            arithmetic=self.arithmetic,
            section=self.config.quantize,
        )
        if found.reason is not None:
            self.tracker.event("rejected", file=found.file, weights=source.weights, reason=found.reason)
        return found

    def _judge(self, source: Source, form: Format) -> Judge:
        inputs, targets = self.prepared.split("validation")
        return Judge.of(
            source.payload(form, self.rows[:2]),
            inputs,
            targets,
            schema=self.prepared.schema,
            runtime=RUNTIME[form],
            batch_sizes=self.config.export.batch_sizes,
            max_drop=self.config.quantize.max_drop,
            seed=self.config.seed,
            tolerance=tolerance_for(self.config, self.prepared),
        )

    def _trained(self, model: Model) -> Source:
        files = {one.format: one.file for one in self.exported.listed if one.variant == model.variant}
        checkpoint = model.manifest.makes[Model.BEST].sha256
        deployable = deployable_of(self.prepared, model)
        return Source(model.variant, "trained", deployable, checkpoint, lambda form: self.exported.read(files[form]))

    def _tuned(self, model: Model) -> Source:
        """Train a model on with the rounding of its integers."""
        folder = self.out / f"{model.variant}-qat"
        folder.mkdir()
        epochs = self.config.quantize.qat_epochs
        self.tracker.event("working_on", what=f"{model.variant}: quantization-aware training, up to {epochs} epochs")
        with Interrupt() as interrupt:
            payload = train_quantized(
                self.config,
                self.prepared,
                model,
                out=folder,
                reduce_range=self.arithmetic.reduce_range,
                tracker=self.tracker,
                interrupt=interrupt,
            )
        return Source(model.variant, "qat", joined(self.prepared, payload, source=model.source()), sha256_of(payload))

    def _measured(self, made: Attempt) -> None:
        assert made.found is not None
        verdict = made.found.last.verdict
        told = {"bytes": verdict.bytes, "drop": verdict.lost, "float_nodes": len(made.found.last.float_nodes)}
        self.tracker.metrics({f"quantize/{made.file}/{key}": value for key, value in told.items()})


def _outcome(listed: Sequence[Listed], story: Sequence[dict[str, Any]], section: QuantizeConfig) -> Outcome:
    rejected = _rejections(story, {kept.file for kept in listed})
    if not listed:
        return Outcome(f"no int8 artifact: {rejected}", metrics={"quantize/artifacts": 0.0})
    worst = max(one.how["drop"] for one in listed)
    floats = sorted({name for one in listed for name in one.how["float_nodes"]})
    kept = f"; in float: {', '.join(floats)}" if floats else ""
    what = f"{len(listed)} int8 artifacts, " if len(listed) > 1 else "1 int8 artifact, "
    metric = listed[0].how["metric"]
    lost = f"largest drop of {metric} {worst:.4g}" if worst > 0 else f"none loses {metric}"
    summary = f"{what}{lost} (quantize.max_drop={section.max_drop:g}){kept}"
    return Outcome(
        f"{summary}; {rejected}" if rejected else summary,
        metrics={"quantize/artifacts": float(len(listed)), "quantize/largest_drop": worst},
    )


def _rejections(story: Sequence[dict[str, Any]], accepted: set[str]) -> str:
    """Say why each file is not there, of the weights that were tried last."""
    last = {one["file"]: one for one in story if one["file"] not in accepted}
    names = {"trained": "trained weights", "qat": "weights of quantization-aware training"}
    return "; ".join(f"{file} is rejected ({names[one['weights']]}): {one['reason']}" for file, one in last.items())
