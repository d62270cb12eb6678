"""Which rows count as alike where splits take their share of each kind: classes, or ranges of a value."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.schema import Task

_QUANTILES = 5  # ranges of a regression target that each split gets its share of
_FEWEST = 50  # values; fewer are one stratum


def strata_of(targets: NDArray[Any], task: Task) -> NDArray[np.int64] | None:
    """Return the stratum of each row, (rows,) numbers from 0; None for fewer than 50 values.

    targets: (rows,) classes are their own strata; values, (rows,), or their first principal component of (rows, outputs), are
    cut at quantiles; of (rows, labels), 0 or 1, the rarest label that a row has counts.
    """
    if task == "classification":
        return targets.astype(np.int64)
    if task == "multilabel":
        labels = targets.shape[1]
        rarest_first = np.argsort(targets.sum(axis=0, dtype=np.float64), kind="stable")
        has = targets[:, rarest_first] > 0.5
        return np.asarray(np.where(has.any(axis=1), rarest_first[has.argmax(axis=1)], labels), dtype=np.int64)
    if len(targets) < _FEWEST:
        return None
    values = targets if targets.ndim == 1 else _principal(targets.astype(np.float64))
    _, of_row, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = (np.cumsum(counts) - counts / 2) / len(values)  # equal values are one range, by the middle of their ranks
    return (middles * _QUANTILES).astype(np.int64)[of_row]


def _principal(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first principal component of standardized outputs, (rows,)."""
    spread = targets.std(axis=0)
    standard = (targets - targets.mean(axis=0)) / np.where(spread > 0, spread, 1)
    _, directions = np.linalg.eigh(standard.T @ standard)
    component: NDArray[np.float64] = standard @ directions[:, -1]
    return component
