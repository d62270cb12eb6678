"""What the train rows of a table say about filling, scaling, categories and dates: the numbers behind TableInputs.

pipeline.models.tabular documents each entry; everything here is fitted on train rows alone.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.row_files import read_columns, rows_of
from pipeline.data.statistics import KNOTS, Moments, affine
from serving.columns import UNSEEN
from serving.schema import Array, Feature, starts_of

_AT_ONCE_BYTES = 128 * 1024 * 1024  # of columns in memory
_HOUR_S = 3600
_EPOCH = date(1970, 1, 1)


class Gathered:
    """What is gathered from encoded train rows, chunk by chunk."""

    def __init__(self, features: Sequence[Feature]) -> None:
        """Begin with no row."""
        self.features = features
        self.starts = starts_of(features)
        self.moments = Moments((sum(feature.width for feature in features),))
        self.days: dict[int, Counter[int]] = {
            start: Counter() for feature, start in zip(features, self.starts, strict=True) if feature.kind == "date"
        }

    def add(self, rows: Array) -> None:
        """Take in (rows, values), more of them."""
        self.moments.add(rows)
        for start, counts in self.days.items():
            days, times = np.unique(rows[:, start][~np.isnan(rows[:, start])].astype(np.int64), return_counts=True)
            counts.update(dict(zip(days.tolist(), times.tolist(), strict=True)))

    def merge(self, other: "Gathered") -> None:
        """Take in what was gathered from other rows."""
        self.moments.merge(other.moments)
        for start, counts in self.days.items():
            counts.update(other.days[start])

    def described(self) -> tuple[Feature, ...]:
        """Return the features with their ranges; (0, 0) where every value is missing."""
        low, high = (np.where(self.moments.count > 0, ends, 0.0) for ends in (self.moments.minimum, self.moments.maximum))
        return tuple(
            msgspec.structs.replace(feature, minimum=float(low[start]), maximum=float(high[start]))
            for feature, start in zip(self.features, self.starts, strict=True)
        )


def fit_table(gathered: Gathered, train: Path, section: PrepareConfig) -> dict[str, Any]:
    """Return the statistics of inputs; train: the file of encoded train rows, which medians and quantiles are read from."""
    moments, features, starts = gathered.moments, gathered.features, gathered.starts
    at = [start for feature, start in zip(features, starts, strict=True) if feature.kind in {"number", "boolean"}]
    nullable = {start for feature, start in zip(features, starts, strict=True) if feature.nullable}
    quartiles = _quartiles(gathered, train, at, nullable, section)
    shift, scale = affine(section.normalize, _only(moments, at), quartiles if section.normalize == "robust" else None)
    knots = _knots(train, at) if section.normalize == "quantile" else None
    if knots is None and all(feature.kind == "number" and not feature.nullable for feature in features):
        return {"shift": shift.tolist(), "scale": scale.tolist()}
    categories = [(feature, start) for feature, start in zip(features, starts, strict=True) if feature.kind == "category"]
    embedded = [pair for pair in categories if _is_embedded(pair[0], section)]
    some_missing = (moments.missing > 0) & (moments.count > 0)
    return {
        "kind": "table",
        "numbers": {
            "at": at,
            "fill": _fill(features, starts, at, quartiles[1]),
            "shift": shift.tolist(),
            "scale": scale.tolist(),
            "knots": knots,
        },
        "indicators": [
            start for feature, start in zip(features, starts, strict=True) if feature.kind != "category" and some_missing[start]
        ],
        "onehot": [
            {
                "at": start,
                "categories": len(feature.categories),
                "missing": bool(some_missing[start]),
                "unseen": bool(moments.minimum[start] == UNSEEN),
            }
            for feature, start in categories
            if (feature, start) not in embedded and (feature.categories or some_missing[start])
        ],
        "dates": [parts for start in gathered.days if (parts := _date(gathered, train, start))["parts"]],
        "embedded": [
            {"at": start, "categories": len(feature.categories), "width": embedding_width(len(feature.categories))}
            for feature, start in embedded
        ],
    }


def embedding_width(categories: int) -> int:
    """Return how many numbers stand for a category: the rule of thumb of fastai's tabular learner, 50 at most."""
    return min(50, round(1.6 * math.pow(max(1, categories), 0.56)))


def _is_embedded(feature: Feature, section: PrepareConfig) -> bool:
    if section.categories == "auto":
        return len(feature.categories) > section.onehot_most
    return section.categories == "embedding"


def _only(moments: Moments, at: list[int]) -> Moments:
    chosen = Moments((len(at),))
    chosen.rows = moments.rows
    for name in ("count", "mean", "squares", "minimum", "maximum"):
        setattr(chosen, name, getattr(moments, name)[at])
    return chosen


def _quartiles(
    gathered: Gathered, train: Path, at: list[int], nullable: set[int], section: PrepareConfig
) -> NDArray[np.float64]:
    """Return (3, columns): median and quartiles where something needs them, else the mean three times."""
    found = np.repeat(gathered.moments.mean[at][None], 3, axis=0)
    wanted = [index for index, start in enumerate(at) if section.normalize == "robust" or start in nullable]
    for index, values in _columns(train, [at[index] for index in wanted]):
        if values.size:
            found[:, wanted[index]] = np.quantile(values, (0.25, 0.5, 0.75))
    return found


def _fill(features: Sequence[Feature], starts: Sequence[int], at: list[int], medians: NDArray[np.float64]) -> list[float]:
    """Return what stands for a missing value: the median; of a boolean, the more frequent value."""
    boolean = {start for feature, start in zip(features, starts, strict=True) if feature.kind == "boolean"}
    return [float(median >= 0.5) if start in boolean else float(median) for start, median in zip(at, medians, strict=True)]


def _knots(train: Path, at: list[int]) -> list[list[float]]:
    shares = np.linspace(0, 1, KNOTS)
    return [(np.quantile(values, shares) if values.size else np.zeros(KNOTS)).tolist() for _, values in _columns(train, at)]


def _columns(train: Path, positions: list[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (index, the values that are there) of some columns of the train rows, few columns in memory at a time."""
    rows = rows_of(train)
    step = max(1, _AT_ONCE_BYTES // max(1, rows * 4))
    for first in range(0, len(positions), step):
        block = read_columns(train, positions[first : first + step])
        for offset in range(block.shape[1]):
            yield first + offset, block[:, offset][~np.isnan(block[:, offset])]


def _date(gathered: Gathered, train: Path, start: int) -> dict[str, Any]:
    """Return which parts of a date say anything in the train rows, and their scales; sines and cosines stay as they are."""
    counts, moments = gathered.days[start], gathered.moments
    days = sorted(counts)
    weights = np.array([counts[day] for day in days], dtype=np.float64)
    dates = [_EPOCH + timedelta(days=day) for day in days]
    parts: dict[str, tuple[list[float], list[float]]] = {}
    if len(days) > 1:
        parts["elapsed"] = [float(moments.mean[start])], [float(moments.std[start])]
    if len({day.month for day in dates}) > 1:
        parts["month"] = [0.0, 0.0], [1.0, 1.0]
    if len({day.day for day in dates}) > 1:
        numbers = np.array([day.day for day in dates], dtype=np.float64)
        mean = float(np.average(numbers, weights=weights))
        parts["day"] = [mean], [math.sqrt(float(np.average((numbers - mean) ** 2, weights=weights)))]
    if len({day.weekday() for day in dates}) > 1:
        parts["weekday"] = [0.0, 0.0], [1.0, 1.0]
    if moments.count[start] and moments.minimum[start + 1] // _HOUR_S != moments.maximum[start + 1] // _HOUR_S:
        parts["hour"] = [0.0, 0.0], [1.0, 1.0]
    return {
        "at": start,
        "fill": [_middle_day(days, weights), _middle_second(gathered, train, start + 1)],
        "parts": list(parts),
        "shift": [number for shift, _ in parts.values() for number in shift],
        "scale": [number for _, scale in parts.values() for number in scale],
    }


def _middle_day(days: Sequence[int], counts: NDArray[np.float64]) -> float:
    """Return the median, rounded down, of ascending days that occur so often; 0 where there are none."""
    if not len(days):
        return 0.0
    ends = np.cumsum(counts)
    low, high = (days[int(np.searchsorted(ends, place, side="right"))] for place in ((ends[-1] - 1) // 2, ends[-1] // 2))
    return float((low + high) // 2)


def _middle_second(gathered: Gathered, train: Path, start: int) -> float:
    """Return the median time of the day, rounded down; 0 where there are none."""
    low, high = gathered.moments.minimum[start], gathered.moments.maximum[start]
    if low == high:  # dates without a time: nothing has to be read
        return float(np.floor(low))
    _, seconds = next(_columns(train, [start]))
    return float(np.floor(np.median(seconds))) if seconds.size else 0.0
