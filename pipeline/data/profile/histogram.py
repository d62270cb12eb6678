"""Numbers that describe many: moments, quantiles, and counts between edges that two sets of rows share."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Split

_BARS, _FEWEST_BARS = 20, 5
_EXACT = 2.0**24  # integers below it are exact in float32
_TAIL = 0.01  # share of rows, on each side, that an outlier belongs to
_FAR = 3.0  # a range this many times that of the rows between the tails is cut


def described(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return distinct, minimum, median, mean, deviation, maximum and skew of finite values; None each where there are none."""
    if not len(values):
        return {"distinct": 0} | dict.fromkeys(("minimum", "median", "mean", "deviation", "maximum", "skew"))
    ordered = np.sort(values)
    mean, deviation = float(ordered.mean()), float(ordered.std())
    return {
        "distinct": int((np.diff(ordered) > 0).sum()) + 1,
        "minimum": rounded(ordered[0]),
        "median": rounded(np.median(ordered)),
        "mean": rounded(mean),
        "deviation": rounded(deviation),
        "maximum": rounded(ordered[-1]),
        "skew": rounded((((ordered - mean) / deviation) ** 3).mean()) if deviation > 0 else 0.0,
    }


def rounded(number: Any) -> float:
    """Return a number as float32 knows it: 0.1, not 0.10000000149."""
    return float(f"{float(number):.7g}")


def histogram(values: Mapping[Split, NDArray[np.float64]]) -> dict[str, Any]:
    """Return `edges` from the train rows, and the count of each split's rows between them.

    values: of each split, "train" among them; NaN is no row. The first and the last bar also hold what lies beyond the edges:
    where few rows are far out, `clipped` is true, and the edges leave them out. `whole`: each bar is one integer. No edges: no
    train rows.
    """
    train = values["train"]
    there = train[~np.isnan(train)]
    near = bool(len(there)) and bool(np.ptp(there) <= _BARS and np.abs(there).max() < _EXACT)
    whole = near and bool((there == np.floor(there)).all())
    edges, clipped = (np.arange(there.min(), there.max() + 2) - 0.5, False) if whole else _edges(there)
    counts = {str(split): _counts(part[~np.isnan(part)], edges) for split, part in values.items()}
    return {"edges": [float(f"{edge:.10g}") for edge in edges], "clipped": clipped, "whole": whole, **counts}


def _edges(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    if not len(values):
        return np.empty(0), False
    low, high = float(values.min()), float(values.max())
    near, far = (float(edge) for edge in np.quantile(values, (_TAIL, 1 - _TAIL)))
    clipped = far > near and high - low > _FAR * (far - near)
    if clipped:
        low, high = max(low, near), min(high, far)
    if high <= low:
        high = low + max(1.0, abs(low) / _EXACT)
    bars = min(_BARS, max(_FEWEST_BARS, round(2 * len(values) ** (1 / 3))))  # Rice's rule (Lane 2003): few rows, few bars
    return np.linspace(low, high, bars + 1), clipped


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> list[int]:
    if len(edges) < 2:
        return []
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    counts: list[int] = np.bincount(places, minlength=len(edges) - 1).tolist()
    return counts
