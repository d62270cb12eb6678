"""From a data set to an answer over HTTP, with the commands that people type: real processes, a real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifacts import Exported, Model, Prepared
from pipeline.training.deployed import answers, deployable_of
from tests.conftest import NO_MLFLOW, ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=5) as answer:
        return json.loads(answer.read())


def wait_until_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            assert get(f"{url}/readyz")["status"] == "ready"
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@contextmanager
def served(config: Path, folder: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `python -m pipeline serve` in `folder` from nothing, and yield its URL and process once it is ready."""
    (folder / "mlflow.yaml").write_text(NO_MLFLOW)
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "serve", "--config", str(config), f"serve.port={port}", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGINT)  # a kill would leave the workers behind
        try:
            process.communicate(timeout=20)
        except (subprocess.TimeoutExpired, ValueError):  # it hangs, or the test has read its output already
            process.kill()
            process.wait()


@pytest.mark.parametrize(("config", "epochs"), [("digits", 2), ("breast_cancer", 5), ("diabetes", 5)])
def test_serve_makes_everything_and_answers_what_the_evaluated_model_answers(config: str, epochs: int, tmp_path: Path) -> None:
    with served(ROOT / "configs" / f"{config}.yaml", tmp_path, f"train.epochs={epochs}") as (url, process):
        run = (tmp_path / "runs" / "latest").resolve()
        prepared = Prepared.open(next(path for path in (tmp_path / "data" / "prepared").iterdir() if path.is_dir()))
        inputs, _ = prepared.split("test")
        expected = answers(deployable_of(prepared, Model.open(run / "train")), inputs[:20])
        reply = get(f"{url}/predict", {"inputs": inputs[:20].tolist()})
        np.testing.assert_allclose(values(reply["predictions"]), expected, rtol=1e-4, atol=1e-4)
        assert reply["model"]["digest"] == Exported.open(run / "export").open_bundle().digest
        if prepared.schema.features:
            names = [feature.name for feature in prepared.schema.features]
            records = [dict(zip(names, row, strict=True)) for row in inputs[:20].tolist()]
            assert get(f"{url}/predict", {"records": records})["predictions"] == reply["predictions"]
        assert get(f"{url}/info")["lineage"]["run"] == run.name
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors + out
    assert errors == ""


def values(predictions: list[Any]) -> Any:
    return [list(p["probabilities"].values()) if "probabilities" in p else [p["value"]] for p in predictions]
