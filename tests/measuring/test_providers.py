"""Candidates on other execution providers: named apart, measured on what they name or not at all."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest

from pipeline import manifest
from pipeline.artifacts import Benchmarked
from pipeline.config import Config, load
from pipeline.config.choice_sections import Provider
from pipeline.errors import ConfigError
from pipeline.exporting.parity import Tolerance
from pipeline.manifest import version_of
from pipeline.measuring import providers
from pipeline.measuring.process import Worker, WorkerFailed
from pipeline.measuring.providers import check_providers, providers_of
from pipeline.measuring.quality import Quality
from pipeline.measuring.rows import Benchmark, Latency, Row, name_of
from pipeline.measuring.seat import Seat, Subject
from pipeline.measuring.sitting import _parity
from serving import runtimes
from serving.bundle import Bundle
from serving.errors import BundleError
from serving.predictor import Predictor
from serving.schema import Array
from tests.conftest import Finished, Project
from tests.measuring.made_benchmarks import INT8, ONNX, TORCHSCRIPT, benchmark_of, complete, run_benchmark, run_select
from tests.measuring.test_worker import order

OPENVINO = f"{ONNX} on openvino"
ONLY_CPU = pytest.mark.skipif(
    any(runtimes.absent(provider) is None for provider in ("cuda", "tensorrt", "openvino")),
    reason="this onnxruntime has other providers",
)


def configured(*words: str) -> Config:
    return load(None, ["data.source=iris", *words])


@ONLY_CPU
def test_auto_is_cpu_alone_where_there_is_nothing_else() -> None:
    assert providers_of(configured()) == providers_of(configured("benchmark.providers=[cpu]")) == ("cpu",)


@ONLY_CPU
def test_a_named_provider_that_is_not_here_is_a_line_and_exit_2_before_anything_is_made(project: Project) -> None:
    for command in ("benchmark", "select"):
        code, _, err = project.run(command, "benchmark.providers=[cpu, cuda, openvino]")
        assert code == 2
        ours = f"the onnxruntime {onnxruntime.__version__} that is installed runs models on cpu, not on"
        assert err == [
            f"benchmark.providers: {name}: {ours} {name}; install the package {package} in its place, or leave {name} out"
            for name, package in (("cuda", "onnxruntime-gpu"), ("openvino", "onnxruntime-openvino"))
        ]
    assert not (project.folder / "runs").exists()
    assert not (project.folder / "data").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("[cuda]", "lacks cpu, which the others are compared with; add it"),
        ("[cpu, cpu]", "names cpu twice; name it once"),
        ("[]", "at least 1 item"),
        ("[cpu, cudda]", "did you mean 'cuda'?"),
        ("all", "auto"),
    ],
)
def test_providers_that_make_no_sense_are_refused_with_their_key(named: str, said: str) -> None:
    with pytest.raises(ConfigError, match="benchmark.providers") as caught:
        configured(f"benchmark.providers={named}")
    assert said in str(caught.value)


@ONLY_CPU
def test_a_provider_that_is_installed_and_computes_nothing_is_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "absent", lambda _: None)  # in this process; the one that is asked to compute knows better
    assert providers_of(configured()) == ("cpu",)
    with pytest.raises(ConfigError, match=r"^benchmark.providers: tensorrt: .* not on tensorrt; .* or leave tensorrt out$"):
        check_providers(configured("benchmark.providers=[cpu, tensorrt]"))


def test_a_worker_probes_a_provider_and_measures_nothing_on_another_one(finished: Finished, tmp_path: Path) -> None:
    with Worker(tmp_path / "log") as worker:
        assert worker.probe("cpu") is None
        for provider in ("cuda", "tensorrt", "openvino"):
            fault = worker.probe(provider)
            if fault is not None:
                with pytest.raises(WorkerFailed) as caught:
                    worker.load(msgspec.structs.replace(order(finished), provider=provider))
                assert fault in str(caught.value)
        worker.load(order(finished))


@ONLY_CPU
def test_a_provider_that_fails_in_the_benchmark_has_rows_with_the_reason_and_no_numbers(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "_fault", lambda provider: None if provider == "openvino" else "not here")
    benchmarked = run_benchmark(finished, None, tmp_path / "benchmark", "benchmark.batch_sizes=[1, 4]")
    benchmark = msgspec.json.decode(benchmarked.read(Benchmarked.BENCHMARK), type=Benchmark)
    assert benchmark.conditions["providers"] == ["cpu", "openvino"]
    assert [(row.file, row.provider) for row in benchmark.rows] == [
        (ONNX, "cpu"),
        (OPENVINO, "openvino"),
        (TORCHSCRIPT, "cpu"),
    ]
    on_cpu, failed, _ = benchmark.rows
    assert failed.failed is not None
    assert "runs models on cpu, not on openvino" in failed.failed
    assert (failed.metric, failed.latency.p50_ms, failed.throughput, failed.parity, failed.proven) == (
        None,
        None,
        [],
        None,
        False,
    )
    assert failed.sha256 == on_cpu.sha256
    assert (on_cpu.failed, on_cpu.proven, on_cpu.parity) == (None, True, None)


def with_openvino(finished: Finished, folder: Path, *, p50: float, rows: bool = True) -> Benchmarked:
    """Write a benchmark with a further row, of the ONNX file on OpenVINO; or one that lacks it."""
    content: dict[str, Any] = benchmark_of(finished, folder / "cpu", {}).read_json(Benchmarked.BENCHMARK)
    content["conditions"]["providers"] = ["cpu", "openvino"]
    row = msgspec.convert(content["rows"][0], Row)
    latency = Latency(p50_ms=p50, p95_ms=2 * p50, times_faster=0.4 / p50, unstable=False)
    row = msgspec.structs.replace(row, file=OPENVINO, provider="openvino", latency=latency)
    content["rows"] += [msgspec.to_builtins(row)] if rows else []
    (folder / "openvino").mkdir()
    (folder / "openvino" / Benchmarked.BENCHMARK).write_text(json.dumps(content))
    return Benchmarked.open(complete(folder / "openvino", "benchmark"))


def test_the_policy_names_a_file_on_each_provider_apart(finished: Finished, tmp_path: Path) -> None:
    outcome, selected = run_select(finished, with_openvino(finished, tmp_path, p50=0.15), tmp_path / "select")
    decision = selected.read_json("decision.json")
    assert decision["ranking"] == [ONNX, OPENVINO, TORCHSCRIPT]
    assert [one["file"] for one in decision["candidates"]] == [ONNX, OPENVINO, TORCHSCRIPT]
    assert f"that of {ONNX} is 0.1 ms" in decision["candidates"][1]["reasons"][0]["text"]
    assert (decision["chosen"]["file"], decision["chosen"]["provider"]) == (ONNX, "cpu")
    assert selected.open_bundle().description.artifact.provider == "cpu"
    assert outcome.summary.startswith(f"{ONNX}, the best of 3")


def test_a_provider_that_was_to_be_measured_and_has_no_row_is_rejected_by_name(finished: Finished, tmp_path: Path) -> None:
    _, selected = run_select(finished, with_openvino(finished, tmp_path, p50=0.1, rows=False), tmp_path / "select")
    rejected = selected.read_json("decision.json")["candidates"][1]
    assert (rejected["file"], rejected["accepted"]) == (OPENVINO, False)
    assert "the benchmark has no row for it" in rejected["reasons"][0]["text"]


@ONLY_CPU
def test_a_winner_whose_provider_is_gone_is_refused_and_no_bundle_is_made(finished: Finished, tmp_path: Path) -> None:
    benchmarked = with_openvino(finished, tmp_path, p50=0.01)
    with pytest.raises(BundleError, match="not on openvino; install the package onnxruntime-openvino in its place"):
        run_select(finished, benchmarked, tmp_path / "select")
    assert not (tmp_path / "select" / "bundle").exists()


@ONLY_CPU
def test_the_bundle_of_a_winner_on_a_provider_carries_it_and_replays_through_it_alone(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # The CPU stands in for OpenVINO, which has a package of its own.
        patch.setitem(runtimes._PROVIDERS, "openvino", ("CPUExecutionProvider", "onnxruntime"))
        outcome, selected = run_select(finished, with_openvino(finished, tmp_path, p50=0.01), tmp_path / "select")
        bundle = selected.open_bundle()
        Predictor.from_bundle(bundle).check(bundle.golden())
    assert outcome.summary.startswith(f"{OPENVINO}, the best of 3 that fit")
    decision = selected.read_json("decision.json")
    assert decision["winner"] == OPENVINO
    chosen = decision["chosen"]
    assert (chosen["file"], chosen["provider"], chosen["measured"]["file"]) == (ONNX, "openvino", OPENVINO)
    artifact = bundle.description.artifact
    assert (artifact.file, artifact.provider, artifact.precision) == (ONNX, "openvino", "fp32")
    assert bundle.description.parity["provider"] == "openvino"
    with pytest.raises(BundleError, match="not on openvino"):
        Predictor.from_bundle(Bundle(selected.bundle))


CPU = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)


def judged(finished: Finished, beside: Array | None, found: Array | None) -> Row:
    """The row of what openvino answered, beside what cpu did."""
    load = msgspec.structs.replace(order(finished), provider="openvino")
    like = Subject(ONNX, "train", "onnx", "fp32", "0" * 64, 1, order(finished), proven=True)
    other = Subject(OPENVINO, "train", "onnx", "fp32", "0" * 64, 1, load, proven=True, beside=ONNX)
    seats = {ONNX: Seat(like, answers=beside), OPENVINO: Seat(other, answers=found)}
    schema = finished.prepared.schema
    parities = {name: _parity(seat, seats, 2, schema, Tolerance(1e-4, 1e-4)) for name, seat in seats.items()}
    assert parities[ONNX] is None
    assert seats[ONNX].row(Quality(), threads=1, parity=None).proven
    return seats[OPENVINO].row(Quality(), threads=1, parity=parities[OPENVINO])


def test_a_provider_is_proven_where_it_answers_like_cpu_and_not_where_it_does_not(finished: Finished) -> None:
    alike = judged(finished, CPU, CPU + np.float32(1e-5))
    assert alike.proven
    assert alike.parity is not None
    assert (alike.parity.rows, alike.parity.batch_sizes, alike.parity.passed) == (3, [2], True)
    apart = judged(finished, CPU, CPU + np.array([[0, 0], [0, 0], [-0.05, 0.05]], np.float32))
    assert not apart.proven
    assert apart.parity is not None
    assert apart.parity.worst.row == 2
    assert not judged(finished, None, CPU).proven
    assert not judged(finished, CPU, None).proven
    broken = judged(finished, CPU, np.where(CPU > 0.8, np.float32(np.nan), CPU))
    assert (broken.proven, broken.parity) == (False, None)


@pytest.mark.parametrize(
    ("provider", "name"), [("cpu", INT8), ("cuda", f"{INT8} on cuda"), ("tensorrt", f"{INT8} on tensorrt")]
)
def test_a_candidate_is_named_by_its_file_and_by_what_computes_it_besides_cpu(provider: Provider, name: str) -> None:
    assert name_of(INT8, provider) == name


def test_the_version_of_a_package_that_stands_in_for_another_is_told_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of("numpy") == version("numpy")
    monkeypatch.setitem(manifest._INSTEAD, "no-such-package", ("no-other-package", "numpy"))
    assert version_of("no-such-package") == f"{version('numpy')} (numpy)"
    with pytest.raises(PackageNotFoundError):
        version_of("no-other-package")
