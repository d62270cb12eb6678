"""An environment for each other server, below .venv/peers, since their dependencies exclude each other.

A server that cannot be installed is no reason to stop: the table says so, and why.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving.stacks import PEERS, STACKS

_STAMP, _REASON = "installed.json", "failed.txt"


def install(names: Sequence[str], pip_arguments: Sequence[str]) -> None:
    """Install what is missing or has other pins, and say what could not be had."""
    for name in names:
        pins = list(STACKS[name].pins)
        if not pins or unusable(name) is None:
            continue
        print(f"{name}: installing {', '.join(pins)}", flush=True)
        reason = _install(PEERS / name, pins, pip_arguments)
        if reason is not None:
            print(f"{name}: cannot be installed here: {reason}; the table will say so", file=sys.stderr)


def _install(folder: Path, pins: list[str], pip_arguments: Sequence[str]) -> str | None:
    """Return why the pins cannot be installed, or None."""
    make = [sys.executable, "-m", "venv", "--clear", str(folder)]
    fill = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *pip_arguments, *pins]
    for command in (make, fill):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            faults = [line for line in done.stderr.splitlines() if "ERROR" in line] or [f"exit {done.returncode}"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _REASON).write_text(faults[-1].removeprefix("ERROR: ")[:200])
            return faults[-1].removeprefix("ERROR: ")[:200]
    (folder / _STAMP).write_text(json.dumps(pins))  # last: an installation that was cut off starts again
    return None


def unusable(name: str) -> str | None:
    """Return why a stack cannot be started, or None: it needs no environment, or has one with these very pins."""
    pins, folder = list(STACKS[name].pins), PEERS / name
    if not pins or ((stamp := folder / _STAMP).is_file() and json.loads(stamp.read_text()) == pins):
        return None
    if (reason := folder / _REASON).is_file():
        return f"cannot be installed here: {reason.read_text()}"
    return "not installed: python -m benchmarks.serving --install"


def python_of(name: str) -> str:
    """Return the interpreter that a stack runs in."""
    return str(PEERS / name / "bin" / "python") if STACKS[name].pins else sys.executable
