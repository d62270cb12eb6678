"""Drift inside the service: a bounded sample of its rows, over a sliding window, against what the train rows looked like.

    watch = Watch()
    watch.models({digest: (schema, reference)})
    watch.hold(entry); watch.sample(state, now)            # in the background
    drift_of(watch.tracks[digest], counts)                 # {"state": "ok", "rows": 1200, "inputs": […], "predictions": […]}

Nothing is said of fewer than LEAST_ROWS rows. `serving.telemetry.psi` says how rows become a state.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from serving.schema import Array, Schema
from serving.telemetry.entry import Entry
from serving.telemetry.psi import Shift, share_shift, shift, worst
from serving.telemetry.state import State, Vector
from serving.telemetry.tracks import Track, Tracks

LEAST_ROWS = 200
SLOT_S, SLOTS = 300, 12  # an hour in twelve parts, by the clock, so that workers agree on them

_ROWS = 2000  # of one model that are looked at in one flush
_VALUES = 2_000_000  # as well
_PIECE = 500  # requests whose rows are taken in one go
_SHARE = 0.01  # of one core's time that this may take; where more is asked, fewer rows are looked at


class Watch:
    """Which models are watched, and the rows that wait to be looked at."""

    def __init__(self, *, share: float = _SHARE, slot_s: float = SLOT_S, slots: int = SLOTS) -> None:
        """Watch nothing yet. share: of one core's time, at most. slot_s, slots: the sliding window."""
        self.tracks: dict[str, Tracks] = {}
        self.slot_s, self.slots = slot_s, slots
        self._share = share
        self._held: dict[str, list[tuple[Array, Array]]] = {}
        self._random = np.random.default_rng()
        self._tables: dict[str, dict[str, Any]] = {}
        self._resume = self._renew = 0.0  # time.perf_counter() from which rows are looked at, and tables made, again

    def models(self, models: Mapping[str, tuple[Schema, dict[str, Any]]]) -> None:
        """Watch these models, by digest, and no others; one that was watched already goes on."""
        self.tracks = {
            digest: self.tracks.get(digest) or Tracks(schema, reference) for digest, (schema, reference) in models.items()
        }

    def hold(self, entry: Entry) -> None:
        """Keep an answered request's rows for the next look."""
        if entry.inputs is not None and entry.outputs is not None and entry.rows and entry.model in self.tracks:
            self._held.setdefault(entry.model, []).append((entry.inputs, entry.outputs))

    def sample(self, state: State, now: float, *, breathe: Callable[[], object] = lambda: None) -> bool:
        """Count held rows into the slot of `now`; return whether this was done and more may be held.

        breathe: called every few hundred microseconds, to let requests in.
        """
        started, began = time.perf_counter(), time.thread_time()
        if started < self._resume:
            return False
        held, self._held = self._held, {}
        slot = int(now // self.slot_s)
        for digest, pairs in held.items():
            tracks = self.tracks.get(digest)
            if tracks is not None and tracks.size:
                counts = tracks.count(*_drawn(pairs, breathe), self._random, breathe=breathe)
                state.add(State(drift={digest: {slot: counts}}))
        spent = time.thread_time() - began
        self._resume = started + spent / self._share if held else 0.0
        return True

    def oldest(self, now: float) -> int:
        """Return the first slot that is inside the window."""
        return int(now // self.slot_s) - self.slots + 1

    def tables(self, state: State, now: float) -> dict[str, dict[str, Any]]:
        """Return the drift table of each watched model, from counts of all workers.

        Where it takes long, as of thousands of features, it is as old as keeps its share of time small.
        """
        started = time.perf_counter()
        if self._tables.keys() == self.tracks.keys() and started < self._renew:
            return self._tables
        oldest, found = self.oldest(now), {}
        for digest, tracks in self.tracks.items():
            slots = state.drift.get(digest, {}).items()
            counts = [vector for slot, vector in slots if slot >= oldest and len(vector) == tracks.size]
            total = np.sum(counts, axis=0) if counts else np.zeros(tracks.size)
            found[digest] = drift_of(tracks, total) | {"window_s": self.slot_s * self.slots}
        self._tables = found
        self._renew = started + (time.perf_counter() - started) / self._share
        return found


def _drawn(pairs: list[tuple[Array, Array]], breathe: Callable[[], object]) -> tuple[Array, Array]:
    """Return at most _ROWS rows, evenly from all that are held: (rows, *shape), (rows, outputs).

    It empties `pairs`, since to free thousands of them takes milliseconds, too.
    """
    rows = sum(len(inputs) for inputs, _ in pairs)
    values = pairs[0][0][0].size
    step = max(1, -(-rows // _ROWS), -(-rows * values // _VALUES))
    drawn: list[tuple[Array, Array]] = []
    before = 0
    while pairs:
        if len(pairs) % _PIECE == 0:
            breathe()
        inputs, outputs = pairs.pop()
        first = -before % step
        before += len(inputs)
        if first < len(inputs):
            drawn.append((inputs[first::step], outputs[first::step]))
    breathe()
    return np.concatenate([inputs for inputs, _ in drawn]), np.concatenate([outputs for _, outputs in drawn])


def drift_of(tracks: Tracks, counts: Vector) -> dict[str, Any]:
    """Return how far rows are from the train rows. counts: the vector of the whole window.

    {"state": "ok" | "shifting" | "drifted" | "too few rows" | "no reference", "rows", "needed", "inputs": [one for each input],
    "predictions": [one for each output, or for all classes]}, the furthest first; each has name, psi and state, and what
    applies of out_of_range, unseen and missing (shares).
    """
    rows = float(counts[-1]) if tracks.size else 0.0
    found: dict[str, Any] = {"rows": int(rows), "needed": LEAST_ROWS, "inputs": [], "predictions": []}
    if not tracks.size:
        return found | {"state": "no reference"}
    if rows < LEAST_ROWS:
        return found | {"state": "too few rows"}
    for track in tracks.all:
        part = counts[track.start : track.start + track.size]
        found[track.side + "s"].append(_row(track, part, tracks.reference_rows))
    for side in ("inputs", "predictions"):
        found[side].sort(key=lambda row: -row["psi"])
    return found | {"state": worst(row["state"] for row in (*found["inputs"], *found["predictions"]))}


def _row(track: Track, part: Vector, reference_rows: float) -> dict[str, Any]:
    bins, (outside, missing, values, rows) = part[: len(track.shares)], part[-4:].tolist()
    cells = max(1.0, missing + values)
    there = rows * values / cells  # rows that have a value; of pixels, those of their pictures
    ratios: dict[str, float] = {}
    shifts: list[Shift] = []
    if there >= 1 and len(bins):
        shifts.append(shift(track.shares, bins, rows=there, reference_rows=reference_rows * (1 - track.missing) or 1.0))
        for name, expected, seen in _properties(track, bins, outside):
            ratios[name] = seen / values
            shifts.append(share_shift(expected, seen / values, rows=there, reference_rows=reference_rows))
    if track.side == "input":
        ratios["missing"] = missing / cells
        shifts.append(share_shift(track.missing, missing / cells, rows=rows, reference_rows=reference_rows))
    psi = shifts[0].value if len(bins) and there >= 1 else 0.0
    return {"name": track.name, "psi": psi, "state": worst(each.state for each in shifts), **ratios}


def _properties(track: Track, bins: Vector, outside: float) -> Iterator[tuple[str, float, float]]:
    """Yield name, expected share and found number of the values that no train row had."""
    if track.side == "input" and track.kind == "number":
        yield "out_of_range", 0.0, outside
    if track.side == "input" and track.kind == "category":
        yield "unseen", float(track.shares[0]), float(bins[0])
