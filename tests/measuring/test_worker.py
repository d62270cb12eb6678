"""A worker: light where the service is light, honest about memory and failures, and gone when its parent is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.artifacts import Model, Prepared
from pipeline.artifacts.artifact import Artifact
from pipeline.exporting.formats import RUNTIME
from pipeline.measuring.orders import Engine, Kept, Load
from pipeline.measuring.process import Worker, WorkerFailed
from pipeline.training.deployed import answers, deployable_of
from serving.files import FileRecord, sha256_of
from tests.conftest import ROOT, Finished


def kept(made: Artifact, name: str) -> Kept:
    return Kept(str(made.folder / name), made.manifest.makes[name])


def order(finished: Finished, engine: Engine = "onnxruntime") -> Load:
    names = {RUNTIME[listed.format]: listed.file for listed in finished.exported.listed}
    artifact = kept(finished.model, Model.BEST) if engine == "eager" else kept(finished.exported, names[engine])
    return Load(
        engine=engine,
        artifact=artifact,
        schema=finished.prepared.schema,
        threads=1,
        inputs=str(finished.prepared.folder / "validation.inputs.npy"),
        statistics=kept(finished.prepared, Prepared.STATISTICS),
    )


@pytest.mark.parametrize("engine", ["eager", "onnxruntime", "torchscript"])
def test_each_engine_answers_like_the_model_in_a_process_of_its_own(finished: Finished, tmp_path: Path, engine: Engine) -> None:
    inputs, _ = finished.prepared.split("validation")
    with Worker(tmp_path / "log") as worker:
        process_s, load_s = worker.load(order(finished, engine))
        worker.answer(0, len(inputs), batch_size=5, into=tmp_path / "answers.npy")
        calls = worker.window(40, window_ms=1.0, least_calls=7)
        memory = worker.remember()
        libraries = Path(f"/proc/{worker.pid}/maps").read_text()
    expected = answers(deployable_of(finished.prepared, finished.model), inputs)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, atol=1e-5)
    assert 0 < load_s < process_s
    assert len(calls) >= 7
    assert min(calls) > 0
    assert ("libtorch" in libraries) is (engine != "onnxruntime"), "a service of ONNX has no torch in its memory"
    assert memory.pss_bytes is not None
    assert 20e6 < memory.pss_bytes <= memory.peak_bytes


def test_the_peak_is_of_the_worker_and_not_of_the_parent_that_started_it(finished: Finished, tmp_path: Path) -> None:
    large = np.ones(60_000_000)  # 480 MB, resident in this process while the worker starts
    with Worker(tmp_path / "log") as worker:
        worker.load(order(finished))
        assert worker.remember().peak_bytes < 300e6 < large.nbytes


def test_a_worker_that_is_killed_or_cannot_load_or_is_silent_says_so_in_one_line(finished: Finished, tmp_path: Path) -> None:
    with Worker(tmp_path / "a.log") as worker:
        worker.load(order(finished))
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed, match=r"^the process was killed by SIGKILL$"):
            worker.window(1, window_ms=1.0, least_calls=1)
    garbage, content = tmp_path / "garbage.onnx", b"no model"
    garbage.write_bytes(content)
    for digest, said in (("0" * 64, "sha256 recorded"), (sha256_of(content), "cannot load the artifact")):
        broken = msgspec.structs.replace(order(finished), artifact=Kept(str(garbage), FileRecord(digest, len(content))))
        with Worker(tmp_path / "b.log") as worker, pytest.raises(WorkerFailed, match=said):
            worker.load(broken)
    with Worker(tmp_path / "d.log", patience_s=0.01) as worker, pytest.raises(WorkerFailed, match="no answer within 0.01 s"):
        worker.load(order(finished))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def eventually(true: Callable[[], bool], within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from pipeline.measuring.process import Worker
worker = Worker(Path({str(tmp_path / "log")!r}))
print(worker.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.communicate()
    assert eventually(lambda: gone(pid))
