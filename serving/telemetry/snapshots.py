"""The workers' snapshots in one folder, so that any of them can answer for all.

    <pid>-<start>.snapshot     what a worker counted; replaced as a whole
    <pid>-<start>.alive        locked as long as the worker lives, however it ends
    ended.snapshot             the sum over workers that have ended; their counters stay, their gauges are gone

The folder belongs to one service and lies where writing is cheap; nothing is synced to disk, for nothing in it outlives a crash
of the machine.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.telemetry.state import State, decode, encode

_SNAPSHOT, _ALIVE, _NEW = ".snapshot", ".alive", ".new"
_ENDED, _LOCK = "ended.snapshot", "ended.lock"
_REMEMBERED = 1000  # names of folded snapshots: one that could not be deleted must not be counted twice
_TRIES = 20  # to read while workers end


class Snapshots:
    """One worker's place in the folder, and its view of the others."""

    def __init__(self, folder: Path) -> None:
        """Take a place; raises OSError where the folder cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = f"{os.getpid()}-{time.time_ns()}"
        self._path = folder / (self._name + _SNAPSHOT)
        # A lock, not the process id: it is free the moment that the worker is gone, and an id may be another process's by then.
        self._alive = os.open(folder / (self._name + _ALIVE), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def publish(self, payload: bytes) -> None:
        """Replace this worker's snapshot; raises OSError, and keeps the old one, when that fails."""
        _replace(self._path, payload)

    def read(self, own: State) -> tuple[State, int]:
        """Return the sum over all workers, and how many of them live; `own` is this one's state as it was last published."""
        for _ in range(_TRIES):
            before = _read(self._folder / _ENDED) or State()
            total, living = State(), 1
            total.add(own)
            for path in self._others():
                state = None if path.name in before.folded else _read(path)
                if state is not None:
                    alive = _lives(path)
                    living += alive
                    total.add(state, gauges=alive)
            after = _read(self._folder / _ENDED) or State()
            if before.folded == after.folded:  # else a snapshot may have moved while it was read
                break
        total.add(after)
        return total, living

    def fold(self, *, recent: int, drift: int) -> None:
        """Put the snapshots of ended workers into one file, without slots before the given ones; raises OSError."""
        ended = [path for path in self._others() if not _lives(path)]
        if not ended:
            return
        with _locked(self._folder / _LOCK) as mine:
            if not mine:
                return  # another worker is at it
            total = _read(self._folder / _ENDED) or State()
            new = [path for path in ended if path.name not in total.folded]
            for path in new:
                state = _read(path)
                if state is not None:
                    total.add(state, gauges=False)
            total.prune(recent=recent, drift=drift)
            total.folded = (total.folded + [path.name for path in new])[-_REMEMBERED:]
            _replace(self._folder / _ENDED, encode(total))
            for path in ended:
                for suffix in (_SNAPSHOT, _ALIVE, _NEW):
                    path.with_suffix(suffix).unlink(missing_ok=True)

    def _others(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("*-*" + _SNAPSHOT)) if path != self._path]

    def close(self) -> None:
        """Give the place up: what was counted stays."""
        os.close(self._alive)


def _lives(snapshot: Path) -> bool:
    try:
        handle = os.open(snapshot.with_suffix(_ALIVE), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _read(path: Path) -> State | None:
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return None  # not written yet, or folded meanwhile


def _replace(path: Path, payload: bytes) -> None:
    temporary = path.with_suffix(_NEW)
    try:
        temporary.write_bytes(payload)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a file, unless another holds it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)
