"""When a worker's state becomes its snapshot, and the sum over all of them; gauges are read at that moment."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.telemetry.catalog import DIGITS
from serving.telemetry.snapshots import Snapshots
from serving.telemetry.state import Labels, Merge, State, encode, labels_of

START, WORKERS = "process_start_time_seconds", "slipway_workers"

_INFO = "slipway_model_info"
_OFTEN_S, _IDLE_S, _FOLD_S = 0.2, 5.0, 10.0  # between snapshots, where something changed and where not; between foldings
_BYTES_PER_S = 4 * 2**20  # of snapshots; larger ones are written less often
_log = logging.getLogger("slipway.serving")


class Publisher:
    """The gauges of one worker, and its place among the others. Not for several threads at once, but for `gauge`."""

    def __init__(self, shared: Path | None) -> None:
        """Take a place in `shared`; None: there are no others."""
        self.changed = True  # since the last snapshot
        self._snapshots = None if shared is None else Snapshots(shared)
        self._gauges: dict[tuple[str, Labels], tuple[Callable[[], float], Merge]] = {}
        self._broken: set[str] = set()
        self._next = self._next_fold = 0.0  # time.monotonic()
        self._last = -_IDLE_S
        self.gauge(START, (), _started_at(), "min")
        self.gauge("process_resident_memory_bytes", (), _resident_bytes, "sum")

    def gauge(self, name: str, labels: Labels, read: Callable[[], float], merge: Merge) -> None:
        """Read this whenever a snapshot is written."""
        self._gauges[name, labels] = (read, merge)

    def models(self, identities: Mapping[str, Mapping[str, str]]) -> None:
        """Tell by role which models are loaded: name, version and digest."""
        kept = {key: gauge for key, gauge in self._gauges.items() if key[0] != _INFO}
        for role, identity in identities.items():
            labels = labels_of({**identity, "digest": identity["digest"][:DIGITS], "role": role})
            kept[_INFO, labels] = (_one, "max")
        self._gauges, self.changed = kept, True

    def publish(self, state: State, *, force: bool, recent: int, drift: int) -> None:
        """Read the gauges into `state`, and write the snapshot if it is due or forced; raises OSError.

        recent, drift: first slots that are still wanted.
        """
        now = time.monotonic()
        due = (self.changed and now >= self._next) or now - self._last >= _IDLE_S
        if not (due or force):
            return
        state.prune(recent=recent, drift=drift)
        state.counters["process_cpu_seconds_total"] = {(): time.process_time()}
        state.gauges = self._read()
        if self._snapshots is None:
            return
        payload = encode(state)
        self._next, self._last = now + max(_OFTEN_S, len(payload) / _BYTES_PER_S), now
        self._snapshots.publish(payload)
        self.changed = False
        if now >= self._next_fold:
            self._next_fold = now + _FOLD_S
            self._snapshots.fold(recent=recent, drift=drift)

    def total(self, state: State) -> State:
        """Return the sum over all workers, with how many of them live; `state`: this worker's, as last published."""
        if self._snapshots is None:
            total, workers = State(), 1
            total.add(state)
        else:
            total, workers = self._snapshots.read(state)
        total.gauges[WORKERS] = {(): (float(workers), "max")}
        return total

    def close(self) -> None:
        """Leave; the snapshot stays."""
        if self._snapshots is not None:
            self._snapshots.close()

    def _read(self) -> dict[str, dict[Labels, tuple[float, Merge]]]:
        found: dict[str, dict[Labels, tuple[float, Merge]]] = {}
        for (name, labels), (read, merge) in list(self._gauges.items()):
            try:
                found.setdefault(name, {})[labels] = (float(read()), merge)
            except Exception as error:  # read is anyone's: one gauge less, and all other metrics
                if name not in self._broken:
                    self._broken.add(name)
                    _log.exception("telemetry: the gauge %s cannot be read", name, exc_info=error)
        return found


def _one() -> float:
    return 1.0


def _started_at() -> Callable[[], float]:
    started = time.time()
    return lambda: started


def _resident_bytes() -> float:
    """Return this process's resident memory; 0 where the system does not tell."""
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0
