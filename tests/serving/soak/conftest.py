"""What the long tests share: clients in processes of their own, and a table of what was measured, printed in the end."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SHARE = float(os.environ.get("SOAK", "1"))  # of the full length, such as 0.1 to try it out

_figures = pytest.StashKey[list[tuple[str, str, str]]]()

Note = Callable[[str, str, str], None]  # what, the figure, what is allowed


class Clients:
    """A process of clients; `result` is there once they have ended."""

    def __init__(self, port: int, mode: str, **options: Any) -> None:
        asked = json.dumps({"port": port, "mode": mode, **options})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serving.soak.load", asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def result(self) -> dict[str, Any]:
        """Tell those that wait for it to end, and return what they met."""
        output, _ = self._process.communicate()
        found: dict[str, Any] = json.loads(output)
        return found

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def clients(port: int, mode: str, **options: Any) -> Iterator[Clients]:
    """Start clients; whatever happens, they end with the block."""
    started = Clients(port, mode, **options)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture(scope="session", autouse=True)
def _many_files() -> Iterator[None]:
    """Let the service, and the clients, have a file for each of thousands of connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Put a figure into the table."""
    figures = request.config.stash.setdefault(_figures, [])
    return lambda what, figure, allowed: figures.append((what, figure, allowed))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    figures = config.stash.get(_figures, [])
    if not figures:
        return
    wide = max(len(what) for what, _, _ in figures)
    middle = max(len(figure) for _, figure, _ in figures)
    terminalreporter.section(f"soak, {SHARE:g} of the full length")
    for what, figure, allowed in figures:
        terminalreporter.write_line(f"{what:{wide}}  {figure:>{middle}}  {allowed}")
