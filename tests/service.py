"""A real service in a process of its own, started as people start it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import NO_MLFLOW, ROOT
from tests.serving.server import free_port


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
