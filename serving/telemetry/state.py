"""What one worker has counted, as it lies in its snapshot, and the sum over workers. Everything in it adds up.

total = State()
total.add(decode(payload))                     # another worker's
total.counters["slipway_rows_total"][()]       # 1200.0
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]  # in the order of their names
Vector = NDArray[np.float64]  # counts; exact up to 2**53
Merge = Literal["sum", "min", "max"]

MOST_SERIES = 2000  # of one metric; what comes beyond is counted as "other", so that memory is bounded


class Recent(msgspec.Struct):
    """Requests to models within a few seconds; `statuses` are those of all replies to them.

    seconds: (phases and total, TIMES + 1) counts of durations, flat. batches: executions; batched: rows in them.
    """

    seconds: Vector
    statuses: dict[str, float] = {}
    others: float = 0
    rows: float = 0
    batches: float = 0
    batched: float = 0


class State(msgspec.Struct):
    """Counters and histograms since start, gauges of now, and what the windows of `summary` and drift hold.

    histograms: per series a vector of the counts below each edge, one count beyond the last, and the sum of all values.
    recent: by slot of RECENT_S seconds. drift: by digest and by slot of the drift window.
    """

    counters: dict[str, dict[Labels, float]] = {}
    histograms: dict[str, dict[Labels, Vector]] = {}
    gauges: dict[str, dict[Labels, tuple[float, Merge]]] = {}
    recent: dict[int, Recent] = {}
    drift: dict[str, dict[int, Vector]] = {}
    folded: list[str] = []  # names of the snapshots of ended workers that are part of this one

    def count(self, name: str, labels: Labels, amount: float) -> None:
        """Add to a counter."""
        series = self.counters.setdefault(name, {})
        labels = _bounded(series, labels)
        series[labels] = series.get(labels, 0.0) + amount

    def observe(self, name: str, labels: Labels, counts: Vector) -> None:
        """Add counts, with the sum of values behind them, to a histogram."""
        series = self.histograms.setdefault(name, {})
        labels = _bounded(series, labels)
        before = series.get(labels)
        series[labels] = counts if before is None else before + counts

    def add(self, other: "State", *, gauges: bool = True) -> None:
        """Add what another worker counted; without its gauges when it has ended."""
        for name, series in other.counters.items():
            for labels, amount in series.items():
                self.count(name, labels, amount)
        for name, vectors in other.histograms.items():
            for labels, counts in vectors.items():
                self.observe(name, labels, counts)
        for name, values in other.gauges.items() if gauges else ():
            self._add_gauges(name, values)
        self._add_windows(other)

    def _add_gauges(self, name: str, values: dict[Labels, tuple[float, Merge]]) -> None:
        series = self.gauges.setdefault(name, {})
        for labels, (value, merge) in values.items():
            both = [series[labels][0], value] if labels in series else [value]
            series[labels] = (sum(both) if merge == "sum" else min(both) if merge == "min" else max(both), merge)

    def _add_windows(self, other: "State") -> None:
        for slot, recent in other.recent.items():
            self.recent[slot] = _both(self.recent.get(slot), recent)
        for digest, slots in other.drift.items():
            own = self.drift.setdefault(digest, {})
            for slot, counts in slots.items():
                before = own.get(slot)
                own[slot] = counts if before is None or len(before) != len(counts) else before + counts

    def prune(self, *, recent: int, drift: int) -> None:
        """Drop slots before the given ones."""
        self.recent = {slot: held for slot, held in self.recent.items() if slot >= recent}
        kept = {digest: {slot: held for slot, held in slots.items() if slot >= drift} for digest, slots in self.drift.items()}
        self.drift = {digest: slots for digest, slots in kept.items() if slots}

    def series(self) -> Iterator[str]:
        """Return the names of all metrics that have a value."""
        yield from (*self.counters, *self.histograms, *self.gauges)


def labels_of(labels: dict[str, str] | None) -> Labels:
    """Return labels as a key."""
    return tuple(sorted(labels.items())) if labels else ()


def summed(states: Iterable[State]) -> State:
    """Return the sum of several workers' states."""
    total = State()
    for state in states:
        total.add(state)
    return total


def encode(state: State) -> bytes:
    """Return the bytes of a snapshot."""
    return _ENCODER.encode(state)


def decode(payload: bytes) -> State:
    """Return the state in a snapshot; raise ValueError for bytes that are none."""
    return _DECODER.decode(payload)


def _bounded(series: dict[Labels, Any], labels: Labels) -> Labels:
    if labels in series or len(series) < MOST_SERIES:
        return labels
    return tuple((name, "other") for name, _ in labels)


def _both(one: Recent | None, other: Recent) -> Recent:
    if one is None:
        return other
    statuses = {key: one.statuses.get(key, 0) + other.statuses.get(key, 0) for key in one.statuses | other.statuses}
    return Recent(
        one.seconds + other.seconds,
        statuses,
        one.others + other.others,
        one.rows + other.rows,
        one.batches + other.batches,
        one.batched + other.batched,
    )


def _bytes_of(value: Any) -> bytes:
    return np.asarray(value, dtype=np.float64).tobytes()


def _vector_of(_: type, value: Any) -> Vector:
    return np.frombuffer(value, dtype=np.float64)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_bytes_of)
_DECODER = msgspec.msgpack.Decoder(State, dec_hook=_vector_of)
