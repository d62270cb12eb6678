"""Ctrl-C while a command still imports what it needs: exit code 130, and not a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

_LIMIT_S = 60


def loaded(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


# Each a shared library of a package, loaded early, in the middle or late; pydantic's turns a KeyboardInterrupt into a panic.
@pytest.mark.parametrize(
    ("command", "library"),
    [
        (["serving", "--bundle", "nowhere"], "msgspec/_core"),
        (["serving", "--bundle", "nowhere"], "_granian"),
        (["serving", "--bundle", "nowhere"], "_multiarray_umath"),
        (["pipeline", "config"], "_pydantic_core"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_ctrl_c_during_imports_ends_in_silence(command: list[str], library: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
        deadline = time.monotonic() + _LIMIT_S
        while not loaded(process.pid, library):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=_LIMIT_S)
    assert (process.returncode, output) == (130, "")


@pytest.mark.parametrize("package", ["serving", "pipeline"])
def test_a_module_that_cannot_be_imported_is_still_said_so(package: str, tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise RuntimeError('broken')")
    done = subprocess.run(
        [sys.executable, "-m", package, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "RuntimeError: broken" in done.stderr
