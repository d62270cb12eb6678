"""Normalization as numbers: fitted on train rows alone, stored as JSON, applied inside the exported graph.

normalized = (raw - shift) / scale; pipeline.models.tabular has the rest: what is missing, categories, dates.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.prepare_sections import Normalization

_CONSTANT = 1e-12  # a spread below this, relative to the largest value, is a constant column
KNOTS = 33  # of the quantile normalization
_BLOCK_VALUES = 131_072  # of float64 that are looked at together: 1 MB, which a core's cache holds
_FEWEST_ROWS = 64


@dataclass
class Moments:
    """Count, mean, spread and range of columns, gathered chunk by chunk (Chan, Golub and LeVeque 1979); NaN is left out.

    Each is (columns,) float64.
    """

    shape: tuple[int, ...]
    count: NDArray[np.float64] = field(init=False)
    mean: NDArray[np.float64] = field(init=False)
    squares: NDArray[np.float64] = field(init=False)  # sum of squared distances from the mean
    minimum: NDArray[np.float64] = field(init=False)
    maximum: NDArray[np.float64] = field(init=False)
    rows: int = 0

    def __post_init__(self) -> None:
        """Begin with no row."""
        self.count, self.mean, self.squares = (np.zeros(self.shape) for _ in range(3))
        self.minimum, self.maximum = np.full(self.shape, np.inf), np.full(self.shape, -np.inf)

    def add(self, rows: NDArray[np.floating[Any]]) -> None:
        """Take in (rows, *shape), more of them."""
        flat = rows.reshape(len(rows), math.prod(self.shape))
        step = max(_FEWEST_ROWS, _BLOCK_VALUES // max(1, flat.shape[1]))
        for start in range(0, len(flat), step):
            self.merge(_of_block(flat[start : start + step], self.shape))

    def merge(self, other: "Moments") -> None:
        """Take in what was gathered from other rows."""
        total, delta = np.maximum(self.count + other.count, 1), other.mean - self.mean
        self.squares += other.squares + delta**2 * self.count * other.count / total
        self.mean = self.mean + np.where(other.count > 0, delta * other.count / total, 0)
        self.count += other.count
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        self.rows += other.rows

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))

    @property
    def missing(self) -> NDArray[np.float64]:
        """Number of rows that lack a value."""
        return self.rows - self.count


def _of_block(rows: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> Moments:
    """Return the moments of (rows, columns) that are few enough to stay in a core's cache; shape: of one row."""
    wide = np.array(rows.T, dtype=np.float64, order="C")  # (columns, rows); float32 sums lose digits over many rows
    count, total = np.full(len(wide), float(len(rows))), wide.sum(axis=1)
    low, high = np.fmin.reduce(wide, axis=1), np.fmax.reduce(wide, axis=1)
    lacking = np.flatnonzero(np.isnan(total))
    there = ~np.isnan(wide[lacking])
    count[lacking], total[lacking] = there.sum(axis=1), wide[lacking].sum(axis=1, where=there)
    mean = total / np.maximum(count, 1)
    wide[lacking] = np.where(there, wide[lacking], mean[lacking, np.newaxis])  # what is missing is no distance away
    wide -= mean[:, np.newaxis]
    block = Moments(shape)
    block.rows = len(rows)
    block.count, block.mean = count.reshape(shape), mean.reshape(shape)
    block.squares = np.einsum("ij,ij->i", wide, wide).reshape(shape)
    block.minimum, block.maximum = (
        np.where(count > 0, ends, none).reshape(shape) for ends, none in ((low, np.inf), (high, -np.inf))
    )
    return block


def affine(method: Normalization, moments: Moments, quartiles: NDArray[np.float64] | None) -> tuple[Any, Any]:
    """Return shift and scale, (columns,) each. A constant gets scale 1, so that it becomes 0.

    quartiles: (3, columns), which `robust` needs: median and interquartile range (as in scikit-learn's RobustScaler).
    """
    match method:
        case "minmax":
            shift, scale = moments.minimum, moments.maximum - moments.minimum
        case "robust":
            assert quartiles is not None
            shift, scale = quartiles[1], quartiles[2] - quartiles[0]
            scale = np.where(scale > 0, scale, moments.std)  # more than half of the values are the same
        case "none":
            shift, scale = np.zeros(moments.shape), np.ones(moments.shape)
        case _:
            shift, scale = moments.mean, moments.std
    shift, scale = (np.where(moments.count > 0, numbers, default) for numbers, default in ((shift, 0.0), (scale, 1.0)))
    largest = np.maximum(np.abs(moments.minimum), np.abs(moments.maximum))  # infinite where no row has a value
    constant = (moments.count == 0) | (scale <= _CONSTANT * np.where(moments.count > 0, largest, 0.0))
    return shift, np.where(constant, 1.0, scale)


def fit_array(method: Normalization, moments: Moments, *, per_channel: bool) -> dict[str, Any]:
    """Return {"shift", "scale"}, nested lists that broadcast over a row, of rows that are arrays.

    per_channel: one number for each channel of a (channels, height, width) image, or for a whole (height, width) one; otherwise
    one for each value of the row.
    """
    if not per_channel:
        shift, scale = affine(method, moments, None)
        return {"shift": shift.tolist(), "scale": scale.tolist()}
    axes = tuple(range(len(moments.shape) - 2, len(moments.shape)))
    whole = _pooled(moments, axes)
    shift, scale = affine(method, whole, None)
    return {"shift": shift.tolist(), "scale": scale.tolist()}


def _pooled(moments: Moments, axes: tuple[int, ...]) -> Moments:
    """Return the moments over some axes of a row, which stay as length 1."""
    mean = moments.mean.mean(axis=axes, keepdims=True)
    pooled = Moments(mean.shape)
    pooled.rows, pooled.mean = moments.rows, mean
    pooled.count = moments.count.sum(axis=axes, keepdims=True)
    pooled.squares = (moments.squares + moments.count * (moments.mean - mean) ** 2).sum(axis=axes, keepdims=True)
    pooled.minimum = moments.minimum.min(axis=axes, keepdims=True)
    pooled.maximum = moments.maximum.max(axis=axes, keepdims=True)
    return pooled


def fit_target(values: NDArray[Any], method: str) -> dict[str, Any]:
    """Return {"shift", "scale", "log"} of a regression's target; values: (rows,) or (rows, outputs) of train rows."""
    log = method == "log"
    wide = values.astype(np.float64)
    moments = Moments(wide.shape[1:])
    moments.add(np.log1p(wide) if log else wide)
    shift, scale = affine("none" if method == "none" else "standard", moments, None)
    return {"shift": shift.tolist(), "scale": scale.tolist(), "log": log}
