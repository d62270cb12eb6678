"""benchmark: every artifact beside the float model, with a metric measured anew, and failures in their rows."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import Benchmarked
from pipeline.measuring.rows import Benchmark
from pipeline.measuring.table import table
from pipeline.metrics.score import score
from pipeline.reporting.pareto import Point, front, pareto_figure
from pipeline.tracking.records import Record
from pipeline.training.deployed import answers, deployable_of
from tests.conftest import Finished
from tests.measuring.made_benchmarks import INT8, ONNX, TORCHSCRIPT, quantized_of, run_benchmark

BROKEN = "broken-int8.onnx"


class Kept:
    """A projection that keeps what it is told."""

    name = "kept"

    def __init__(self) -> None:
        self.records: list[Record] = []

    def show(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        pass


class Measured:
    """One benchmark of two exported files, one that stands for int8, and one that no runtime loads."""

    def __init__(self, benchmarked: Benchmarked, records: list[Record]) -> None:
        self.benchmarked, self.records = benchmarked, records
        self.content: Any = benchmarked.read_json(Benchmarked.BENCHMARK)
        self.rows: dict[str, Any] = {row["file"]: row for row in [self.content["baseline"], *self.content["rows"]]}


@pytest.fixture(scope="module")
def measured(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder, watching = tmp_path_factory.mktemp("measured"), Kept()
    payloads = {INT8: finished.exported.read(ONNX), BROKEN: b"no model"}
    quantized = quantized_of(finished, folder / "quantize", payloads)
    words = ("benchmark.batch_sizes=[1, 4, 16]",)
    return Measured(run_benchmark(finished, quantized, folder / "benchmark", *words, watching=watching), watching.records)


def test_every_artifact_and_the_baseline_have_a_row_with_every_number(measured: Measured, finished: Finished) -> None:
    assert list(measured.rows) == ["eager", ONNX, TORCHSCRIPT, INT8, BROKEN]
    for name in ("eager", ONNX, TORCHSCRIPT, INT8):
        row = measured.rows[name]
        assert row["failed"] is None
        latency = row["latency"]
        assert 0 < latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"]
        assert latency["calls"] >= 3 * 20
        assert len(latency["windows_ms"]) >= 3
        assert row["throughput"][0]["batch_size"] == 1
        assert all(one["rows_per_s"] > 0 for one in row["throughput"])
        assert 0 < row["start"]["load_s"] < row["start"]["process_s"]
        assert 20e6 < row["memory"]["pss_bytes"] <= row["memory"]["peak_bytes"]
        assert row["threads"] == 1
    assert measured.rows["eager"]["latency"]["times_faster"] == 1
    assert measured.rows[ONNX]["sha256"] == finished.exported.manifest.makes[ONNX].sha256
    assert measured.rows[ONNX]["bytes"] == len(finished.exported.read(ONNX))
    assert measured.rows[ONNX]["memory"]["peak_bytes"] < measured.rows["eager"]["memory"]["peak_bytes"], "no torch in it"


def test_the_metric_is_that_of_all_validation_rows_and_the_drop_is_paired(measured: Measured, finished: Finished) -> None:
    inputs, targets = finished.prepared.split("validation")
    given = answers(deployable_of(finished.prepared, finished.model), inputs)
    expected = score(given, targets, finished.prepared.schema, confidence=0.95, resamples=100, seed=0)["accuracy"].value
    for name in ("eager", ONNX, TORCHSCRIPT, INT8):
        row = measured.rows[name]
        assert row["metric"] == row["metrics"]["accuracy"]["value"] == expected
        assert (row["drop"]["drop"], row["drop"]["rows"]) == (0, len(targets))
        assert 0 < row["drop"]["bound"] < 2 / len(targets)
        assert sum(one["support"] for one in row["classes"]) == len(targets)
        assert all(one["recall"] == one["recall_before"] for one in row["classes"])


def test_a_file_that_does_not_load_has_its_reason_and_no_numbers(measured: Measured) -> None:
    row = measured.rows[BROKEN]
    assert "cannot load the artifact" in row["failed"]
    assert (row["metric"], row["drop"], row["latency"]["p50_ms"], row["throughput"]) == (None, None, None, [])
    assert row["latency"]["unstable"] is True


def test_conditions_are_written_down(measured: Measured) -> None:
    conditions = measured.content["conditions"]
    assert set(conditions) >= {"cpu", "cores", "governor", "load_average", "load_average_after", "versions", "plan", "started"}
    assert set(conditions["versions"]) == {"python", "torch", "onnxruntime", "numpy"}
    assert conditions["plan"]["windows"] == 5


def test_people_get_a_table_stores_get_numbers_and_the_folder_keeps_nothing_else(measured: Measured) -> None:
    (lines,) = [record.values["lines"] for record in measured.records if record.values.get("name") == "table"]
    assert [line.split()[0] for line in lines[1:6]] == ["eager", ONNX, TORCHSCRIPT, INT8, BROKEN]
    assert "failed" in lines[5]
    assert "validation rows" in lines[6]
    (numbers,) = [record.values for record in measured.records if record.kind == "metrics"]
    assert numbers[f"benchmark/{ONNX}/p50_ms"] == measured.rows[ONNX]["latency"]["p50_ms"]
    assert not any(BROKEN in name and "p50" in name for name in numbers)
    assert set(measured.benchmarked.manifest.makes) == {"benchmark.json", "pareto.png"}
    with Image.open(measured.benchmarked.folder / "pareto.png") as picture:
        assert min(picture.size) > 300


class Interrupting(Kept):
    """Ctrl-C at the moment when all workers are in turns; `children` are the processes of that moment."""

    children: list[int]

    def show(self, record: Record) -> None:
        if str(record.values.get("what")).startswith("batch 1:"):
            listed = [path.read_text().split() for path in Path(f"/proc/{os.getpid()}/task").glob("*/children")]
            self.children = [int(pid) for pids in listed for pid in pids]
            raise KeyboardInterrupt


def test_an_interruption_leaves_no_process_behind(finished: Finished, tmp_path: Path) -> None:
    watching = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(finished, None, tmp_path / "benchmark", watching=watching)
    assert len(watching.children) >= 3
    workers = [pid for pid in watching.children if Path(f"/proc/{pid}/cmdline").exists()]
    assert not any(b"measuring.worker" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers)
    assert [path.name for path in (tmp_path / "benchmark").iterdir()] == []


POINTS = [
    Point("eager", 0.99, 1.0, 100, "train", "fp32", baseline=True),
    Point("fast", 0.97, 0.1, 20, "prune", "int8"),
    Point("beaten", 0.96, 0.5, 90, "train", "fp32"),
    Point("middle", 0.98, 0.4, 90, "distill", "fp32", unstable=True),
]


def test_the_front_joins_those_that_nobody_beats_in_both() -> None:
    assert [point.name for point in front(POINTS, falls=False)] == ["fast", "middle", "eager"]
    assert [point.name for point in front(POINTS, falls=True)] == ["fast", "beaten"]


@pytest.mark.parametrize("points", [POINTS, POINTS[:1], []])
def test_a_picture_is_drawn_of_many_of_one_and_of_none(tmp_path: Path, points: list[Point]) -> None:
    pareto_figure(tmp_path / "pareto.png", points, metric="rmse", title="rows")
    with Image.open(tmp_path / "pareto.png") as picture:
        assert np.asarray(picture).std() > 1


def test_the_table_of_a_benchmark_that_was_read_back_is_the_same(measured: Measured) -> None:
    again = msgspec.json.decode(json.dumps(measured.content), type=Benchmark)
    (lines,) = [record.values["lines"] for record in measured.records if record.values.get("name") == "table"]
    assert table(again) == lines
