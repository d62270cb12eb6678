"""Stages of a finished run that tests make by hand: int8 files, a benchmark; and `benchmark` and `select` run on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.artifacts import Benchmarked, Quantized, Selected
from pipeline.artifacts.artifact import Artifact
from pipeline.config import load
from pipeline.manifest import Manifest, now, records_of, write_manifest
from pipeline.measuring.rows import BASELINE, Benchmark, ClassRecall, Latency, Memory, Row
from pipeline.metrics.paired import paired_drop
from pipeline.metrics.score import score
from pipeline.runner import Scoped
from pipeline.stages import Outcome, stage_named
from pipeline.tracking import Projection, Tracker
from pipeline.training.deployed import answers, deployable_of
from serving.files import write_atomic
from tests.conftest import Finished

ONNX, TORCHSCRIPT, INT8 = "train-fp32.onnx", "train-fp32.torchscript.pt", "train-int8.onnx"


def complete(folder: Path, stage: str) -> Path:
    """Write the manifest of a folder whose files are written."""
    manifest = Manifest(
        stage=stage,
        takes={},
        makes=records_of(folder),
        config={},
        code="",
        seed=0,
        device="cpu",
        versions={},
        git={},
        created=now(),
        seconds=0.0,
        metrics={},
        notes={},
    )
    write_manifest(folder, manifest)
    return folder


def quantized_of(
    finished: Finished, folder: Path, payloads: Mapping[str, bytes], story: Sequence[Mapping[str, Any]] = ()
) -> Quantized:
    """Write files that count as int8: name -> bytes; story: what quantization.json tells of all tries."""
    folder.mkdir(parents=True)
    listed = []
    for name, payload in payloads.items():
        write_atomic(folder / name, payload)
        like = finished.exported.listed[0]
        listed.append(msgspec.structs.replace(like, file=name, format="onnx", precision="int8", how={"method": "static"}))
    write_atomic(folder / Quantized.LISTING, msgspec.json.encode(listed))
    write_atomic(folder / Quantized.QUANTIZATION, msgspec.json.encode({"artifacts": list(story)}))
    return Quantized.open(complete(folder, "quantize"))


def benchmark_of(finished: Finished, folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> Benchmarked:
    """Write a benchmark of the exported files in which all is well, but for `changes` of single rows."""
    inputs, targets = finished.prepared.split("validation")
    schema = finished.prepared.schema
    given = answers(deployable_of(finished.prepared, finished.model), inputs)
    value = score(given, targets, schema, confidence=0.95, resamples=100, seed=0)["accuracy"].value
    drop = paired_drop(given, given, targets, schema, confidence=0.95, resamples=100, seed=0)
    rows = []
    for place, name in enumerate((BASELINE, ONNX, TORCHSCRIPT)):
        record = finished.exported.manifest.makes.get(name, finished.model.manifest.makes["best.pt"])
        p50 = (0.4, 0.1, 0.2)[place]
        whole = Row(
            file=name,
            variant="train",
            format=("eager", "onnx", "torchscript")[place],
            precision="fp32",
            sha256=record.sha256,
            bytes=record.bytes,
            threads=1,
            memory=Memory(peak_bytes=60_000_000),
            latency=Latency(p50_ms=p50, p95_ms=2 * p50, p99_ms=3 * p50, times_faster=0.4 / p50, unstable=False),
            nonfinite_rows=0,
            metric=value,
            drop=drop,
            classes=[ClassRecall(label=label, support=7, recall=0.9, recall_before=0.9) for label in schema.classes],
        )
        rows.append(msgspec.structs.replace(whole, **changes.get(name, {})))
    benchmark = Benchmark(
        conditions={"plan": {"batch_sizes": [1, 8]}, "precisions": ["fp32", "int8"]},
        headline="accuracy",
        rows_scored=len(targets),
        baseline=rows[0],
        rows=rows[1:],
    )
    folder.mkdir(parents=True)
    write_atomic(folder / Benchmarked.BENCHMARK, msgspec.json.encode(benchmark))
    return Benchmarked.open(complete(folder, "benchmark"))


def run_benchmark(
    finished: Finished, quantized: Quantized | None, folder: Path, *words: str, watching: Projection | None = None
) -> Benchmarked:
    """Measure with windows as short as can be."""
    stage = stage_named("benchmark")
    quick = ("benchmark.window_ms=2.0", "benchmark.windows=5", "benchmark.agree=0.9", "benchmark.resamples=100")
    config = Scoped(load(finished.folder.parent.parent / "quick.yaml", [*quick, *words]), stage)
    folder.mkdir(parents=True)
    tracker = Tracker("benchmark", [watching] if watching else [])
    stage.run(config, finished.prepared, finished.model, finished.exported, quantized, out=folder, tracker=tracker)
    return Benchmarked.open(complete(folder, "benchmark"))


def run_select(
    finished: Finished, benchmarked: Benchmarked, folder: Path, *words: str, quantized: Artifact | None = None
) -> tuple[Outcome, Selected]:
    """Choose, with budgets that a handful of rows can meet."""
    stage = stage_named("select")
    config = Scoped(load(finished.folder.parent.parent / "quick.yaml", ["select.max_drop=0.2", *words]), stage)
    folder.mkdir(parents=True)
    given = (finished.prepared, finished.model, finished.exported, quantized, benchmarked)
    outcome = stage.run(config, *given, out=folder, tracker=Tracker("select"))
    return outcome, Selected.open(complete(folder, "select"))
