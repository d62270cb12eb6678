"""select: the best that fits, proven once more and bundled; with a reason for every other one, or exit code 3."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.artifacts import Benchmarked
from pipeline.errors import GateRefused
from pipeline.measuring.rows import ClassRecall, Latency
from serving.predictor import Predictor
from tests.conftest import Finished, Project
from tests.measuring.made_benchmarks import INT8, ONNX, TORCHSCRIPT, benchmark_of, complete, quantized_of, run_select

# Bytes are the same on a busy machine, where windows as short as these may never agree.
QUICK = (
    "select.objective=bytes",
    "benchmark.precisions=[fp32]",
    "benchmark.window_ms=2.0",
    "benchmark.windows=5",
    "benchmark.agree=0.9",
)


def test_the_command_prints_the_table_and_the_decision_and_a_policy_that_nothing_meets_exits_3(ready: Project) -> None:
    code, out, _ = ready.run("select", *QUICK, "select.max_drop=0.2")
    assert code == 0
    head = next(index for index, line in enumerate(out) if line.startswith("artifact "))
    assert [line.split()[0] for line in out[head + 1 : head + 4]] == ["eager", ONNX, TORCHSCRIPT]
    assert any(line.startswith("chosen    train-fp32") for line in out)
    assert "times faster than eager" in out[-1]
    assert "drop 0, proven to answer like the float model" in out[-1]
    code, out, err = ready.run("select", *QUICK, "select.max_drop=0.2", "select.max_bytes=10")
    assert code == 3
    assert any(line.startswith("benchmark") and "skipped" in line for line in out), "a policy measures nothing anew"
    assert err[0].startswith("select: none of 2 artifacts fits the budgets; nearest is ")
    assert "select.max_bytes allows 10" in err[0]
    assert [line.partition(":")[0] for line in err[1:]] == [ONNX, TORCHSCRIPT]
    assert not (ready.latest / "select.partial" / "bundle").exists()
    decision = json.loads((ready.latest / "select.partial" / "decision.json").read_text())
    assert decision["winner"] is None
    assert [one["reasons"][0]["code"] for one in decision["candidates"]] == ["bytes_above_budget", "bytes_above_budget"]


def test_the_winner_is_bundled_with_its_own_answers_and_its_lineage(finished: Finished, tmp_path: Path) -> None:
    benchmarked = benchmark_of(finished, tmp_path / "benchmark", {})
    outcome, selected = run_select(finished, benchmarked, tmp_path / "select")
    decision = selected.read_json("decision.json")
    assert decision["winner"] == ONNX
    assert decision["ranking"] == [ONNX, TORCHSCRIPT]
    (behind,) = decision["candidates"][1]["reasons"]
    assert (behind["code"], behind["value"], behind["limit"]) == ("slower_than_best", 0.2, 0.1)
    assert outcome.summary.startswith(f"{ONNX}, the best of 2 that fit by latency_p50: 4.0 times faster than eager")
    bundle = selected.open_bundle()
    assert decision["chosen"]["lineage"] == {
        "data": finished.prepared.digest,
        "statistics": finished.prepared.manifest.makes["statistics.json"].sha256,
        "checkpoint": finished.model.manifest.makes["best.pt"].sha256,
        "artifact": bundle.digest,
    }
    predictor = Predictor.from_bundle(bundle)
    predictor.check(bundle.golden())
    golden = bundle.golden()
    assert predictor.predict(np.array(golden.inputs, dtype=np.float32)).tolist() == golden.outputs, (
        "the artifact's very answers"
    )
    metrics = bundle.description.metrics
    assert metrics["validation"]["drop"]["lost"] == 0
    assert metrics["test"]["rows"] == 30


def test_the_test_split_is_read_once_for_the_winner_and_the_read_is_in_the_ledger(finished: Finished, tmp_path: Path) -> None:
    ledger = finished.prepared.test_reads
    before = len(ledger.read_text().splitlines())
    benchmarked = benchmark_of(finished, tmp_path / "benchmark", {})
    _, selected = run_select(finished, benchmarked, tmp_path / "silent", "select.evaluate_test=false")
    assert set(selected.open_bundle().description.metrics) == {"validation"}
    assert len(ledger.read_text().splitlines()) == before
    _, selected = run_select(finished, benchmarked, tmp_path / "select", "evaluate.test_reads=1")
    lines = ledger.read_text().splitlines()
    assert len(lines) == before + 1
    assert json.loads(lines[-1])["artifact"] == selected.open_bundle().digest
    reads = selected.open_bundle().description.metrics["test"]["test_reads"]
    assert reads == {"count": before + 1, "allowed": 1, "exceeded": before >= 1}


LOST = [ClassRecall(label=label, support=20, recall=recall, recall_before=0.95) for label, recall in
        (("setosa", 0.95), ("versicolor", 0.8), ("virginica", 0.95))]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"latency": Latency(unstable=False)}, "missing_latency"),
        ({"metric": float("nan")}, "missing_metric"),  # JSON has no NaN: it is null on disk
        ({"metric": None, "nonfinite_rows": 2}, "not_finite_metric"),
        ({"classes": LOST}, "class_lost"),
        ({"failed": "the process was killed by SIGKILL"}, "failed"),
        ({"latency": Latency(p50_ms=0.01, p95_ms=0.02, unstable=True)}, "unstable"),
        ({"sha256": "0" * 64}, "failed"),
    ],
)
def test_the_fastest_is_rejected_with_its_reason_where_its_evidence_is_broken_and_the_next_one_wins(
    finished: Finished, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    benchmarked = benchmark_of(finished, tmp_path / "benchmark", {ONNX: changes})
    outcome, selected = run_select(finished, benchmarked, tmp_path / "select", "select.evaluate_test=false")
    decision = selected.read_json("decision.json")
    assert decision["winner"] == TORCHSCRIPT
    rejected = decision["candidates"][0]
    assert (rejected["file"], rejected["accepted"]) == (ONNX, False)
    assert code in [reason["code"] for reason in rejected["reasons"]]
    assert "(1 rejected)" in outcome.summary


def test_a_file_that_was_never_measured_is_no_winner(finished: Finished, tmp_path: Path) -> None:
    quantized = quantized_of(finished, tmp_path / "quantize", {INT8: finished.exported.read(ONNX)})
    benchmarked = benchmark_of(finished, tmp_path / "benchmark", {})
    _, selected = run_select(finished, benchmarked, tmp_path / "select", "select.evaluate_test=false", quantized=quantized)
    (reason,) = selected.read_json("decision.json")["candidates"][2]["reasons"]
    assert "the benchmark has no row for it" in reason["text"]


def test_a_winner_that_scores_something_else_than_the_benchmark_says_is_refused(finished: Finished, tmp_path: Path) -> None:
    benchmarked = benchmark_of(finished, tmp_path / "benchmark", {ONNX: {"metric": 0.999}})
    with pytest.raises(GateRefused, match="and 0.999 in the benchmark"):
        run_select(finished, benchmarked, tmp_path / "select")
    assert not (tmp_path / "select" / "bundle").exists()


def test_a_winner_of_integers_brings_its_own_metrics_and_golden_answers(finished: Finished, tmp_path: Path) -> None:
    quantized = quantized_of(finished, tmp_path / "quantize", {INT8: finished.exported.read(ONNX)})
    benchmarked = benchmark_of(finished, tmp_path / "first", {})
    content = json.loads((benchmarked.folder / "benchmark.json").read_text())
    row = {**content["rows"][0], "file": INT8, "precision": "int8"}
    row["latency"] = msgspec.to_builtins(Latency(p50_ms=0.05, p95_ms=0.06, times_faster=8.0, unstable=False))
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "benchmark.json").write_text(json.dumps({**content, "rows": [*content["rows"], row]}))
    again = Benchmarked.open(complete(folder, "benchmark"))
    outcome, selected = run_select(finished, again, tmp_path / "select", "select.evaluate_test=false", quantized=quantized)
    bundle = selected.open_bundle()
    assert bundle.description.artifact.precision == "int8"
    assert selected.read_json("decision.json")["chosen"]["how"] == {"method": "static"}
    assert "8.0 times faster than eager" in outcome.summary
    Predictor.from_bundle(bundle).check(bundle.golden())
