"""How strongly a column goes with the target, from 0 to 1, whatever the two are; for numbers with a sign.

| column, target | method | source |
|---|---|---|
| number, number | Spearman's rank correlation | Spearman 1904 |
| number, classes or classes, number | correlation ratio, without the bias of many groups (epsilon) | Kelley 1935 |
| classes, classes | Cramér's V, without the bias of many cells | Bergsma 2013 |
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["Spearman", "correlation ratio", "Cramér's V"]
_FEWEST = 3  # rows that have both values


@dataclass(frozen=True)
class Variable:
    """One value of each row: (rows,) float64, NaN where it is missing; of `classes`, equal numbers are the same class."""

    values: NDArray[np.float64]
    classes: bool


@dataclass(frozen=True)
class Association:
    """A method, and what it measured: -1 to 1 for Spearman, 0 to 1 for the others."""

    method: Method
    value: float


def associate(one: Variable, other: Variable) -> Association | None:
    """Return how strongly two variables go together, over the rows that have both; None where one of them is constant."""
    there = ~(np.isnan(one.values) | np.isnan(other.values))
    a, b = one.values[there], other.values[there]
    if len(a) < _FEWEST or a.min() == a.max() or b.min() == b.max():
        return None
    if one.classes and other.classes:
        return Association("Cramér's V", _cramers_v(_codes(a), _codes(b)))
    if one.classes or other.classes:
        groups, values = (a, b) if one.classes else (b, a)
        return Association("correlation ratio", _correlation_ratio(_codes(groups), values))
    return Association("Spearman", _spearman(a, b))


def _codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    return float(np.clip(np.corrcoef(rankdata(a), rankdata(b))[0, 1], -1, 1))


def _correlation_ratio(groups: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Return the root of the share of the values' variance that lies between the groups; groups: codes from 0."""
    counts = np.bincount(groups)
    if len(counts) >= len(values):  # a group for each row explains everything and nothing
        return 0.0
    centered = (values - values.mean()) / values.std()  # variance 1, so that no sum can overflow
    means = np.bincount(groups, weights=centered) / counts
    within = float(((centered - means[groups]) ** 2).sum()) / (len(values) - len(counts))
    total = len(values) / (len(values) - 1)
    return float(np.sqrt(np.clip(1 - within / total, 0, 1)))


def _cramers_v(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Count only cells that hold rows: thousands of classes on both sides fit into memory; a, b: codes from 0."""
    rows, across, down = len(a), np.bincount(a), np.bincount(b)
    cells, counts = np.unique(a * len(down) + b, return_counts=True)
    expected = across[cells // len(down)].astype(np.float64) * down[cells % len(down)]
    square = float((counts.astype(np.float64) ** 2 / expected).sum()) - 1  # chi squared / rows
    freedom = (len(across) - 1) * (len(down) - 1) / (rows - 1)
    sides = [len(counts) - (len(counts) - 1) ** 2 / (rows - 1) - 1 for counts in (across, down)]
    return float(np.sqrt(np.clip((square - freedom) / min(sides), 0, 1))) if min(sides) > 0 else 0.0
