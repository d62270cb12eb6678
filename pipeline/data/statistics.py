"""Normalization as numbers: fitted on train rows, stored as JSON, applied inside the exported graph.

normalized = (raw - shift) / scale
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["standard", "minmax", "none"]
_CONSTANT = 1e-12  # a spread below this, relative to the values, is a constant column


def fit(values: NDArray[np.float32], method: Method, *, per_channel: bool) -> dict[str, Any]:
    """Return {"shift": …, "scale": …}, nested lists that broadcast over a row.

    values: (rows, *shape). per_channel: one number for each channel of a (rows, channels, height, width) image, or for a whole
    (rows, height, width) one; otherwise one for each value of the row. A constant gets scale 1, so that it becomes 0.
    """
    wide = values.astype(np.float64)  # float32 sums lose digits over many rows
    axes: tuple[int, ...] = (0,)
    if per_channel:
        axes = (0, *range(values.ndim - 2, values.ndim))
    shift, scale = _measure(wide, method, axes)
    scale = np.where(np.abs(scale) <= _CONSTANT * np.maximum(np.abs(shift), 1), 1.0, scale)
    keep = tuple(axis for axis in axes if axis != 0)
    return {"shift": _expand(shift, keep).tolist(), "scale": _expand(scale, keep).tolist()}


def _measure(values: NDArray[np.float64], method: Method, axes: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    match method:
        case "standard":
            return values.mean(axis=axes), values.std(axis=axes)
        case "minmax":
            low = values.min(axis=axes)
            return low, values.max(axis=axes) - low
        case "none":
            shape = values.mean(axis=axes).shape
            return np.zeros(shape), np.ones(shape)


def _expand(numbers: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Add the axes that were averaged over, without the batch's, as length 1."""
    return np.expand_dims(numbers, tuple(axis - 1 for axis in axes)) if axes else numbers
