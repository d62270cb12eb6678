"""What is counted about each input and each answer of a model, laid out in one flat vector that adds up over slots and workers.

Of each track the vector holds, one after another: counts by bin, values out of range, cells without a value, values, rows.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from serving.answers import LABEL_FROM
from serving.schema import Array, Schema
from serving.telemetry.state import Vector

_PIXELS = 200_000  # at most so many are looked at in one flush, drawn anew each time
_PIECE, _TRACK = 10_000, 500  # values that are counted in one go, and how many of them take as long as to begin a track
_TAIL = 4  # counts behind the bins

Kind = Literal["number", "category", "share"]  # bins by edges; by code; one: values that have some property
Side = Literal["input", "prediction"]


@dataclass(frozen=True, slots=True)
class Track:
    """One thing that can drift. `shares`: expected, of its bins; `missing`: expected share of cells without a value.

    cuts: edges between bins. low, high: range of the train rows. start: its place in the vector.
    """

    name: str
    side: Side
    kind: Kind
    shares: Vector
    missing: float
    cuts: Vector
    low: float
    high: float
    start: int

    @property
    def size(self) -> int:
        """Length of its part of the vector."""
        return len(self.shares) + _TAIL

    def count(self, values: Vector, rows: int, into: Vector) -> None:
        """Count values, NaN where missing, into the whole vector."""
        there = values[~np.isnan(values)] if np.isnan(values.sum()) else values  # a sum is faster than a mask
        part = into[self.start : self.start + self.size]
        bins, outside = self._bins(there)
        part[: len(self.shares)] += bins
        part[-_TAIL:] += (outside, values.size - there.size, there.size, rows)

    def _bins(self, there: Vector) -> tuple[Vector, int]:
        wanted = len(self.shares)
        if self.kind == "share":
            yes = np.count_nonzero(there >= LABEL_FROM)
            return np.array([there.size - yes, yes], dtype=np.float64), 0
        if self.kind == "category":
            known = (there >= 0) & (there < wanted) & (there == np.floor(there))
            codes = np.where(known, there, 0).astype(np.int64)  # what is no code is unseen, too
            return np.bincount(codes, minlength=wanted).astype(np.float64), 0
        outside = int(np.count_nonzero((there < self.low) | (there > self.high))) if wanted else 0
        places = np.searchsorted(self.cuts, there, side="right")
        return np.bincount(places, minlength=wanted)[:wanted].astype(np.float64), outside


class Tracks:
    """All tracks of one model, as its schema and reference.json name them."""

    def __init__(self, schema: Schema, reference: dict[str, Any]) -> None:
        """Lay them out; a reference that holds nothing gives none."""
        self.schema = schema
        self.reference_rows = float(reference.get("rows", 0))
        self.all = list(_laid_out(schema, reference)) if self.reference_rows else []
        self.size = self.all[-1].start + self.all[-1].size if self.all else 0

    def count(
        self, inputs: Array, outputs: Array, random: np.random.Generator, *, breathe: Callable[[], object] = lambda: None
    ) -> Vector:
        """Return the vector of some rows. inputs: (rows, *shape) raw. outputs: (rows, outputs).

        breathe: called every few hundred microseconds, to let requests in.
        """
        into, counted = np.zeros(self.size), 0
        for track, values in zip(self.all, self._values(inputs, outputs, random), strict=True):
            for start in range(0, len(values), _PIECE):
                some = values[start : start + _PIECE]
                track.count(some, 0 if start else len(inputs), into)
                counted += len(some) + _TRACK
                if counted >= _PIECE:
                    breathe()
                    counted = 0
        return into

    def _values(self, inputs: Array, outputs: Array, random: np.random.Generator) -> Iterator[Vector]:
        if self.schema.features:
            for start in self.schema.starts:
                yield inputs[:, start].astype(np.float64)
        else:
            flat = inputs.reshape(-1)
            if flat.size > _PIXELS:
                flat = flat[random.integers(0, flat.size, _PIXELS)]
            yield flat.astype(np.float64)
            yield inputs.reshape(len(inputs), -1).mean(axis=1, dtype=np.float32).astype(np.float64)
        if self.schema.task == "classification":
            yield outputs.argmax(axis=1).astype(np.float64)
        else:
            yield from np.ascontiguousarray(outputs.T, dtype=np.float64)


def _laid_out(schema: Schema, reference: dict[str, Any]) -> Iterator[Track]:
    start = 0
    for name, side, found, bounds in _parts(schema, reference):
        kind, shares, cuts = _bins_of(found)
        low, high = bounds or (found["edges"][0], found["edges"][-1]) if found.get("edges") else (-math.inf, math.inf)
        track = Track(name, side, kind, np.array(shares), found.get("missing", 0.0), np.array(cuts), low, high, start)
        start += track.size
        yield track


def _parts(schema: Schema, reference: dict[str, Any]) -> Iterable[tuple[str, Side, dict[str, Any], tuple[float, float] | None]]:
    """Yield name, side, distribution and range of each track, in the order of the values."""
    inputs, predictions = reference["inputs"], reference["predictions"]
    for feature in schema.features:
        yield feature.name, "input", inputs[feature.name], (feature.minimum, feature.maximum)
    if not schema.features:
        yield "pixel", "input", inputs["pixel"], (schema.minimum, schema.maximum)
        yield "row mean", "input", inputs["row mean"], None
    match schema.task:
        case "classification":
            yield schema.target, "prediction", {"categories": predictions["classes"]}, None
        case "multilabel":
            for label in schema.classes:
                yield label, "prediction", {"share": predictions["labels"][label]}, None
        case "regression":
            for name in schema.targets or (schema.target,):
                yield name, "prediction", predictions[name], None


def _bins_of(found: dict[str, Any]) -> tuple[Kind, list[float], list[float]]:
    """Return kind, expected shares and edges between bins of a distribution in reference.json."""
    if "share" in found:
        return "share", [1 - found["share"], found["share"]], []
    if "categories" in found:
        shares = list(found["categories"].values())
        return "category", [found["unseen"], *shares] if "unseen" in found else shares, []
    return "number", found["shares"], found["edges"][1:-1]
