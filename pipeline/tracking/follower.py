"""Processes that read the journal while the work goes on, and give it to a store: MLflow's or Weights & Biases'.

Their imports, a store's first migrations and a dead server cost the work nothing. A follower that fails is started again, after
waits that grow, and once more when the work ends: the store itself knows what it has, so nothing is stored twice. What is then
still missing, `python -m pipeline sync` stores later. A store that fails, however often, costs one line, at its first failure.
"""

import fcntl
import importlib.util
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from pipeline.config import MlflowSettings
from pipeline.tracking.records import Record

Store = Literal["mlflow", "wandb"]
NAMES: dict[Store, str] = {"mlflow": "MLflow", "wandb": "Weights & Biases"}
_SYNC = "`python -m pipeline sync`"
_PATIENCE_S = 60.0  # for the last records, when the work is done
_WAIT_S, _LONGEST_WAIT_S = 30.0, 600.0  # before a follower that failed is started again


class Follower:
    """A projection that lets another process read the journal; it needs no record itself."""

    def __init__(self, store: Store, journal: Path, *, warn: Callable[[str], None]) -> None:
        """Name store and journal; the process starts with the first record. `warn` takes one line at most."""
        self.name = NAMES[store]
        self._store, self._journal, self._warn = store, journal, warn
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._started, self._told = False, False
        self._failed: str | None = None  # why the last process ended before its time
        self._next_s, self._wait_s = 0.0, _WAIT_S

    def show(self, record: Record) -> None:  # noqa: ARG002  # the process reads the record from the journal
        """Start the process, also in place of one that failed a while ago."""
        if self._process is not None and self._process.poll() is not None:
            self._failed = self._reason()
            self._tell(
                f"lacks part of this run so far: {self._failed}; it is tried again until the end, "
                f"and {_SYNC} stores what is missing then"
            )
            self._process = None
            self._next_s = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        if self._process is None and time.monotonic() >= self._next_s:
            self._start()

    def close(self) -> None:
        """Let the process store the rest, at the second try if need be."""
        if not self._started:
            return
        self._started = False
        until_s = time.monotonic() + _PATIENCE_S
        first = self._finish(until_s) if self._process is not None else self._failed
        if first is None:
            return
        second: str | None = first
        if time.monotonic() < until_s:
            self._start()  # a store that was deleted is made anew, one that was locked may be free
            second = self._finish(until_s)
        if second is not None:
            self._tell(f"lacks part of this run: {second}; {_SYNC} tries again")
        else:
            self._tell(f"failed, was tried again and has everything now: {first}")

    def _start(self) -> None:
        command = [sys.executable, "-m", "pipeline", "sync", "--run", str(self._journal.parent), "--follow"]
        command += ["--to", self._store] if self._store != "mlflow" else []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process; a pipe could fill up and block it
        # A session of its own: Ctrl-C stops the work, and this process then stores what the work wrote last.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors, start_new_session=True
        )
        self._started, self._failed = True, None

    def _finish(self, until_s: float) -> str | None:
        """Tell the process that the work is done, wait for it, and return why it failed, if it did."""
        assert self._process is not None
        process, late = self._process, None
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            late = f"no answer from the store in {_PATIENCE_S:.0f} s"
        reason = self._reason()
        self._process = None
        return late or (reason if process.returncode else None)

    def _reason(self) -> str:
        """Return the last line that the process wrote, and let its files go."""
        assert self._process is not None
        assert self._errors is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        return lines[-1] if lines else f"it ended without a word, exit code {self._process.returncode}"

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            self._warn(f"{self.name} {what}")


def stores_of(settings: MlflowSettings) -> list[Store]:
    """Return the stores that the settings name."""
    named: dict[Store, str | None] = {"mlflow": settings.tracking_uri, "wandb": settings.wandb_project}
    return [store for store, name in named.items() if name is not None]


def followers(journal: Path, settings: MlflowSettings, warn: Callable[[str], None]) -> list[Follower]:
    """Return a follower for each store that the settings name; `warn` of one whose package is not installed."""
    stores = stores_of(settings)
    if "wandb" in stores and importlib.util.find_spec("wandb") is None:
        stores.remove("wandb")
        warn(
            f"mlflow.yaml: wandb_project is {settings.wandb_project}, but wandb is not installed and left out: "
            "pip install 'slipway[wandb]', or set it to null"
        )
    return [Follower(store, journal, warn=warn) for store in stores]


def stdin_closed() -> bool:
    """Wait up to half a second, and return whether the starting process has closed our standard input, or died."""
    ready, _, _ = select.select([sys.stdin], [], [], 0.5)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


@contextmanager
def store_lock(journal: Path, store: Store, *, wait: bool) -> Iterator[bool]:
    """Keep two processes from storing one journal at once; yield whether we may.

    A follower waits for the one before it, whose command was killed; `pipeline sync` leaves a running one alone.
    """
    with (journal.parent / f".{store}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
