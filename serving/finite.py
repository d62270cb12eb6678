"""Whether all numbers are finite: asked of every request twice, so it is cheap for few of them."""

from math import isfinite

import numpy as np

from serving.schema import Array

# A ufunc costs a request of one row several times what it costs in a loop: the processor has long forgotten its code.
_FEW = 512


def all_finite(array: Array) -> bool:
    """Return whether no number of an array of any shape is infinite or NaN."""
    if array.size <= _FEW and isfinite(sum(array.ravel().tolist())):  # a sum keeps what is not finite; this one cannot overflow
        return True
    return bool(np.isfinite(array).all())
