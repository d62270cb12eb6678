"""A server under measurement: paused with all of its children, stopped without leaving any."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.serving.processes import Server


def test_a_paused_server_rests_with_its_children_and_a_stopped_one_leaves_nobody(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    server = Server([sys.executable, "-c", child], core=0, folder=tmp_path, environment={})
    # Asleep, both: a parent cannot be stopped while a child of it has not begun its own program yet.
    server.wait(lambda: [state(pid) for pid in server.pids()] == ["S", "S"], seconds=20)
    pids = server.pids()
    server.pause()
    until(lambda: {state(pid) for pid in pids} == {"T"})
    server.resume()
    until(lambda: "T" not in {state(pid) for pid in pids})
    largest, everything = server.resident_mb()
    assert 1 < largest < 200
    assert everything > 1
    server.stop()
    until(lambda: {state(pid) for pid in pids} <= {"", "Z"})


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_that_ends_before_it_answers_is_reported_with_its_last_words(tmp_path: Path) -> None:
    server = Server([sys.executable, "-c", "raise SystemExit('no such model')"], core=0, folder=tmp_path, environment={})
    with pytest.raises(TimeoutError, match="no such model"):
        server.wait(lambda: False, seconds=20)
    server.stop()
