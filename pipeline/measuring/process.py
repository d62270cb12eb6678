"""A worker as its parent sees it: a process that is started, asked, and in the end always killed."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from pipeline.measuring.orders import (
    Answer,
    Answered,
    Failed,
    Load,
    Loaded,
    Order,
    Probe,
    Probed,
    Remember,
    Remembered,
    Reply,
    Timed,
    Window,
)
from serving.bundle import Provider

_ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE_S = 600.0  # for one reply: a large network answers thousands of rows in one order
_CHUNK = 1 << 20

_Expected = TypeVar("_Expected", bound=Reply)


class WorkerFailed(Exception):
    """Raised when a worker died, went silent, or could not carry out an order; the text is one line."""


class Worker:
    """A process with one artifact in it. As a context it never outlives its block."""

    def __init__(self, log: Path, *, patience_s: float = _PATIENCE_S) -> None:
        """Start the process; `log` takes what it and its libraries print."""
        self._log, self._patience_s, self._pending = log, patience_s, b""
        self._started = time.perf_counter()
        search = os.pathsep.join(path for path in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if path)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.measuring.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": search},
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def load(self, order: Load) -> tuple[float, float]:
        """Return seconds from the process's start to its first answer, and of them those that loading took."""
        loaded = self._ask(order, Loaded)
        return time.perf_counter() - self._started, loaded.load_s

    def answer(self, start: int, stop: int, *, batch_size: int, into: Path) -> None:
        """Let the worker write answers of validation rows."""
        self._ask(Answer(start, stop, batch_size, str(into)), Answered)

    def window(self, batch_size: int, *, window_ms: float, least_calls: int) -> list[int]:
        """Return nanoseconds of each call in one window."""
        return self._ask(Window(batch_size, window_ms, least_calls), Timed).calls_ns

    def remember(self) -> Remembered:
        """Return the memory that the process took so far."""
        return self._ask(Remember(), Remembered)

    def probe(self, provider: Provider) -> str | None:
        """Return why nothing is computed on a provider here; None where it is."""
        return self._ask(Probe(provider), Probed).fault

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process, however the block ended."""
        self.close()

    def _ask(self, order: Order, expected: type[_Expected]) -> _Expected:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            reply: Reply = msgspec.json.decode(self._line(), type=Reply)
        except BrokenPipeError as error:
            raise WorkerFailed(self._last_words()) from error
        if isinstance(reply, Failed):
            raise WorkerFailed(reply.reason)
        assert isinstance(reply, expected)
        return reply

    def _line(self) -> bytes:
        """Return the next line that the worker writes; raise WorkerFailed when it dies first, or writes nothing for long."""
        assert self._process.stdout is not None
        handle, until = self._process.stdout.fileno(), time.monotonic() + self._patience_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise WorkerFailed(f"the process gave no answer within {self._patience_s:g} s")
            chunk = os.read(handle, _CHUNK)
            if not chunk:
                raise WorkerFailed(self._last_words())
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"the process {how}" + (f": {lines[-1].strip()[:300]}" if lines else "")
