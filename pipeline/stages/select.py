"""select: Prepared + Model + Exported + Quantized + Benchmarked -> Selected."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.artifacts import Benchmarked, Exported, Files, Listed, Model, Prepared, Quantized, Selected, Split
from pipeline.config import Config
from pipeline.config.choice_sections import Provider
from pipeline.errors import GateRefused
from pipeline.exporting.bundling import bundle_artifact
from pipeline.exporting.formats import RUNTIME
from pipeline.measuring.policy import Decision, decide
from pipeline.measuring.providers import providers_for
from pipeline.measuring.refusing import refusal_lines
from pipeline.measuring.rows import Benchmark, Row, name_of
from pipeline.measuring.unmade import unmade
from pipeline.metrics.intervals import Interval, as_json
from pipeline.metrics.score import score
from pipeline.reporting.test_reads import record_read
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from serving.files import write_atomic
from serving.predictor import Predictor
from serving.schema import Array

_SAME = 1e-6  # a metric measured twice on the same rows by the same file


@dataclass(frozen=True)
class _Winner:
    """The chosen file: what the benchmark found of it, its bytes, and their answers: (rows, *shape) to (rows, outputs)."""

    row: Row
    listed: Listed
    payload: bytes
    answer: partial[Array]


def run(
    config: Config,
    prepared: Prepared,
    model: Model,
    exported: Exported,
    quantized: Quantized | None,
    benchmarked: Benchmarked,
    *,
    out: Path,
    tracker: Tracker,
) -> Outcome:
    """Choose among the measured artifacts, write `decision.json`, and make the bundle of the winner.

    Raises GateRefused where none fits, with a line for each candidate; `decision.json` stays below `select.partial`.
    """
    benchmark = msgspec.json.decode(benchmarked.read(Benchmarked.BENCHMARK), type=Benchmark)
    candidates = _candidates(benchmark, [made for made in (exported, quantized) if made is not None])
    rows = {name: row_of(benchmark, listed, files, provider) for name, (files, listed, provider) in candidates.items()}
    gone = unmade(quantized.read(Quantized.QUANTIZATION), [one.file for one in quantized.listed]) if quantized else []
    decision = decide(list(rows.values()), prepared.schema.classes, config.select, gone=gone)
    record = {"policy": config.section("select"), **msgspec.to_builtins(decision)}
    if decision.winner is None:
        _write(out, record)
        raise GateRefused(*refusal_lines(decision, list(rows.values()), config.select))
    tracker.event("table", lines=_in_words(decision))

    files, listed, _ = candidates[decision.winner]
    winner = _opened(prepared, benchmark, rows[decision.winner], listed, files)
    metrics = {"validation": _validated(config, prepared, winner)}
    if config.select.evaluate_test:
        metrics["test"] = _tested(config, prepared, model, winner, tracker)
    _bundle(config, prepared, model, winner, metrics, out / "bundle")
    _write(out, record | {"chosen": _lineage(prepared, winner) | {"metrics": metrics}})
    numbers = _numbers(winner.row, metrics)
    tracker.metrics(numbers)
    return Outcome(_summary(winner.row, decision, metrics), metrics=numbers)


def _candidates(benchmark: Benchmark, made: Sequence[Files]) -> dict[str, tuple[Files, Listed, Provider]]:
    """Return every file with every provider that the benchmark was told to measure, by the name of its row."""
    precisions, providers = benchmark.conditions.get("precisions"), benchmark.conditions.get("providers", ["cpu"])
    return {
        name_of(listed.file, provider): (files, listed, provider)
        for files in made
        for listed in files.listed
        for provider in providers_for(listed, providers)
        if precisions is None or listed.precision in precisions
    }


def row_of(benchmark: Benchmark, listed: Listed, files: Files, provider: Provider) -> Row:
    """Return what was measured of a listed file; a row that says so where there is nothing, or where it is of other bytes."""
    record, name = files.manifest.makes[listed.file], name_of(listed.file, provider)
    found = next((row for row in benchmark.rows if row.file == name), None)
    why = None
    if found is None:
        why = "the benchmark has no row for it"
    elif found.sha256 != record.sha256:
        why = f"the benchmark measured other bytes under this name ({found.sha256[:12]}, now {record.sha256[:12]})"
    if found is not None and why is None:
        return found
    return Row(
        file=name,
        variant=listed.variant,
        format=listed.format,
        precision=listed.precision,
        sha256=record.sha256,
        bytes=record.bytes,
        threads=benchmark.baseline.threads,
        provider=provider,
        failed=why,
    )


def _opened(prepared: Prepared, benchmark: Benchmark, row: Row, listed: Listed, files: Files) -> _Winner:
    """Load a listed file on the provider of its row; beside what was proven of it on cpu stands what was found there."""
    payload, runtime = files.read(listed.file), RUNTIME[listed.format]
    predictor = Predictor(payload, schema=prepared.schema, runtime=runtime, threads=row.threads, provider=row.provider)
    if row.provider != "cpu":
        found = {"provider": row.provider, "like_cpu": msgspec.to_builtins(row.parity)}
        listed = msgspec.structs.replace(listed, parity=listed.parity | found)
    size = int(max(benchmark.conditions["plan"]["batch_sizes"]))
    return _Winner(row, listed, payload, partial(_answers, predictor, size=size))


def _answers(predictor: Predictor, inputs: Array, *, size: int) -> Array:
    """Return (rows, outputs), so many rows in a call as when it was measured: all train rows at once may not fit."""
    return np.concatenate([predictor.predict(inputs[start : start + size]) for start in range(0, len(inputs), size)])


def _validated(config: Config, prepared: Prepared, winner: _Winner) -> dict[str, Any]:
    """Score the bytes that go into the bundle once more, and refuse where that is not what the benchmark says of them."""
    row, scored = winner.row, _scored(config, prepared, "validation", winner.answer)
    headline, benchmarked = prepared.schema.headline, row.metric
    value = scored["metrics"][headline]["value"]
    assert benchmarked is not None
    if not math.isclose(value, benchmarked, rel_tol=_SAME, abs_tol=_SAME):
        raise GateRefused(
            f"select: {row.file} has validation {headline} {value:.6g} here, and {benchmarked:.6g} in the benchmark; "
            "it computes something else on this machine: run benchmark again"
        )
    return scored | {"drop": msgspec.to_builtins(row.drop)}


def _tested(config: Config, prepared: Prepared, model: Model, winner: _Winner, tracker: Tracker) -> dict[str, Any]:
    """Score the winner on the test split; the read is written down before a row is answered."""
    reads, allowed = record_read(prepared, model, artifact=winner.row.sha256), config.evaluate.test_reads
    tracker.event("test_split_read", count=reads)
    scored = _scored(config, prepared, "test", winner.answer)
    return scored | {"test_reads": {"count": reads, "allowed": allowed, "exceeded": reads > allowed}}


def _scored(config: Config, prepared: Prepared, split: Split, answer: partial[Array]) -> dict[str, Any]:
    inputs, targets = prepared.split(split)
    section = config.evaluate
    found: dict[str, Interval] = score(
        answer(inputs),
        targets,
        prepared.schema,
        confidence=section.confidence,
        resamples=section.resamples,
        seed=config.seed,
    )
    return {"rows": len(targets), "confidence": section.confidence, "metrics": as_json(found)}


def _bundle(config: Config, prepared: Prepared, model: Model, winner: _Winner, metrics: dict[str, Any], folder: Path) -> None:
    """Write the bundle: the very bytes that were measured, with the answers that were scored."""
    bundle_artifact(
        config,
        prepared,
        winner.listed,
        winner.payload,
        folder=folder,
        run=model.folder.parent.name,
        answer=winner.answer,
        metrics=metrics,
        provider=winner.row.provider,
    )


def _lineage(prepared: Prepared, winner: _Winner) -> dict[str, Any]:
    """Return the winner, and the digests from rows to artifact that it came along."""
    row, listed = winner.row, winner.listed
    return {
        "file": listed.file,
        "provider": row.provider,
        "variant": listed.variant,
        "format": listed.format,
        "precision": listed.precision,
        "how": listed.how,
        "lineage": {
            "data": prepared.digest,
            "statistics": prepared.manifest.makes[Prepared.STATISTICS].sha256,
            "checkpoint": listed.checkpoint,
            "artifact": row.sha256,
        },
        "measured": msgspec.to_builtins(row),
    }


def _write(out: Path, record: dict[str, Any]) -> None:
    write_atomic(out / Selected.DECISION, msgspec.json.format(msgspec.json.encode(record), indent=2))


def _in_words(decision: Decision) -> list[str]:
    """Return a line for each candidate, the winner first, the rejected ones last."""
    by_file = {verdict.file: verdict for verdict in decision.candidates}
    lines = []
    for place, name in enumerate(decision.ranking):
        why = "; ".join(reason.text for reason in by_file[name].reasons)
        lines.append(f"chosen    {name}" if place == 0 else f"fits      {name}: {why}")
    rejected = [verdict for verdict in decision.candidates if not verdict.accepted]
    return [*lines, *(f"rejected  {one.file}: {'; '.join(reason.text for reason in one.reasons)}" for one in rejected)]


def _numbers(row: Row, metrics: dict[str, Any]) -> dict[str, float]:
    found = {
        f"select/{split}/{name}": value["value"] for split, part in metrics.items() for name, value in part["metrics"].items()
    }
    found |= {"select/drop_bound": row.drop.bound} if row.drop else {}
    found |= {"select/p50_ms": row.latency.p50_ms} if row.latency.p50_ms is not None else {}
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _summary(row: Row, decision: Decision, metrics: dict[str, Any]) -> str:
    drop, rejected = row.drop, sum(not verdict.accepted for verdict in decision.candidates)
    assert drop is not None
    faster = row.latency.times_faster
    words = f"{row.file}, the best of {len(decision.ranking)} that fit by {decision.objective}"
    words += f" ({rejected} rejected)" if rejected else ""
    words += f": {faster:.1f} times faster than eager" if faster is not None else ":"
    words += f", {row.bytes:,} bytes, {drop.metric} {drop.value:.4g}, drop {drop.drop:.4g}"
    words += ", proven to answer like the float model" if row.proven else f" and at most {drop.bound:.4g}"
    if "test" in metrics:
        head = metrics["test"]["metrics"][drop.metric]
        words += f"; test {drop.metric} {head['value']:.4g} [{head['low']:.4g}, {head['high']:.4g}]"
        if metrics["test"]["test_reads"]["exceeded"]:
            words += f", read {metrics['test']['test_reads']['count']} of the same test split, so the number grows optimistic"
    return words
