"""The request log: one JSON line for each request, in a file of bounded size that several workers share, or on stderr.

{"at": "2026-11-20T08:00:00.123+00:00", "id": "4f0c…", "protocol": "predict", "status": 200, "model": "9c1e…", "rows": 1,
 "batch": 4, "ms": {"read": 0.02, …, "total": 1.3}}

Lines are written in the background. A disk that is full costs lines, which are counted, and no request.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from serving.telemetry.entry import Entry

STDERR = Path("-")
PIECE = 64  # lines that are written in one go: the more, the later some request is answered
_MOST_VALUES = 10_000  # of inputs in one line


class Times(msgspec.Struct):
    """Milliseconds of each phase and of all."""

    read: float
    decode: float
    queue: float
    compute: float
    encode: float
    total: float


class Line(msgspec.Struct, omit_defaults=True):
    """One line; `reason`: why a request got no answer. `inputs`: only where asked for, and of no more than _MOST_VALUES."""

    at: str
    id: str
    protocol: str
    status: int
    model: str
    rows: int
    batch: int
    ms: Times
    reason: str = ""
    role: str = "live"
    inputs: Any = None


class RequestLog:
    """Where lines go. Safe for several processes, each with its own; not for several threads."""

    def __init__(self, path: Path, *, inputs: bool = False, most_bytes: int = 64 * 2**20, backups: int = 3) -> None:
        """Take a path, `-` for stderr. inputs: whether rows are written, too.

        most_bytes: a larger file is renamed to `<path>.1`, that to `<path>.2`, and so on up to `backups`. Raises OSError, with
        the path, when the file cannot be opened.
        """
        self.inputs = inputs
        self.lost = 0  # lines, since start
        self._path, self._most, self._backups = path, most_bytes, backups
        self._encoder = msgspec.json.Encoder()
        self._handle = sys.stderr.fileno() if path == STDERR else self._open()

    def write(self, entries: Sequence[Entry], *, breathe: Callable[[], object] = lambda: None) -> int:
        """Append a line for each entry; return how many could not be written, which `lost` counts, too.

        breathe: called after every PIECE lines, to let requests in.
        """
        before = self.lost
        for start in range(0, len(entries), PIECE):
            self._write(entries[start : start + PIECE])
            breathe()
        return self.lost - before

    def close(self) -> None:
        """Close the file."""
        if self._path != STDERR:
            os.close(self._handle)

    def _write(self, entries: Sequence[Entry]) -> None:
        lines = []
        for entry in entries:
            try:
                lines.append(self._encoder.encode(_line(entry, self.inputs)))
            except ValueError:  # an id that is no Unicode
                self.lost += 1
        if not lines:
            return
        payload = b"\n".join(lines) + b"\n"
        try:
            if self._path == STDERR:
                _write_all(self._handle, payload)
            else:
                self._append(payload)
        except OSError:
            self.lost += len(lines)

    def _open(self) -> int:
        return os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _append(self, payload: bytes) -> None:
        size = self._lock()
        try:
            if size and size + len(payload) > self._most:
                self._rotate()
                size = self._lock()
            try:
                _write_all(self._handle, payload)
            except OSError:
                os.ftruncate(self._handle, size)  # half a line would spoil the next one
                raise
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _lock(self) -> int:
        """Lock the file that now has the path's name, for another worker may have renamed it; return its bytes."""
        while True:
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            mine = os.fstat(self._handle)
            try:
                if os.path.samestat(mine, self._path.stat()):
                    return mine.st_size
            except FileNotFoundError:
                pass  # renamed or deleted: opened anew below
            opened = self._open()
            os.close(self._handle)
            self._handle = opened

    def _rotate(self) -> None:
        numbered = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._backups + 1))]
        if self._backups == 0:
            os.ftruncate(self._handle, 0)
            return
        for older, newer in zip(reversed(numbered), reversed(numbered[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)


def _line(entry: Entry, inputs: bool) -> Line:
    seconds = entry.read, entry.decode, entry.queue, entry.compute, entry.encode, entry.total
    times = Times(*[int(each * 1e6 + 0.5) / 1000 for each in seconds])  # as round, in a third of the time
    second, thousandths = divmod(int(entry.at * 1000), 1000)
    at = f"{_second(second)}.{thousandths:03d}+00:00"
    line = Line(at, entry.id, entry.protocol, entry.status, entry.model, entry.rows, entry.batch, times)
    line.reason, line.role = entry.reason, entry.role
    if inputs and entry.inputs is not None and entry.inputs.size <= _MOST_VALUES:
        line.inputs = entry.inputs.tolist()
    return line


@lru_cache(maxsize=16)
def _second(since_epoch: int) -> str:
    """Return a second as the lines have it, without what is smaller: requests of one second need it made once."""
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _write_all(handle: int, payload: bytes) -> None:
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(handle, rest) :]
