"""Histograms of the weights and of the last step's gradients, by parameter."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.monitoring.layers import Segment, segments_of
from pipeline.monitoring.monitor import Monitor
from pipeline.tracking import Histogram, Tracker
from pipeline.training.flat import FlatParameters
from pipeline.training.state import FitState

_BINS = 64


class Histograms(Monitor):
    """Records `weights/<parameter>` and `gradients/<parameter>`; a tensor that is not finite is left out."""

    name = "histograms"
    gives_way = True

    def __init__(self, flat: FlatParameters, tracker: Tracker, *, every: int) -> None:
        """every: epochs between two looks."""
        self._segments, self._tracker, self.every = segments_of(flat), tracker, every

    def look(self, state: FitState) -> None:
        """Record them of the weights as the optimizer has them, and of the epoch's last gradients, after clipping."""
        found = {}
        for kind, numbers in (("weights", state.flat.weights), ("gradients", state.flat.gradients)):
            for segment, histogram in zip(self._segments, histograms_of(numbers, self._segments), strict=True):
                if histogram is not None:
                    found[f"{kind}/{segment.name}"] = histogram
        self._tracker.histograms(found, step=state.epoch)


@torch.no_grad()
def histograms_of(numbers: Tensor, segments: Sequence[Segment]) -> list[Histogram | None]:
    """Return the histogram of each segment of `numbers` (n,), of 64 even buckets; None where a number is not finite.

    Counted where the numbers are and read at once; by `bincount`, since `histc` has no deterministic form on CUDA.
    """
    parts = [numbers[segment.start : segment.stop] for segment in segments]
    limits = [torch.aminmax(part) for part in parts]
    counts = []
    for part, (low, high) in zip(parts, limits, strict=True):
        places = (part - low).mul_(_BINS / (high - low)).clamp_(0, _BINS - 1).nan_to_num_(0.0)
        counts.append(torch.bincount(places.to(torch.uint8), minlength=_BINS))  # of bytes: six times as fast as of int64
    buckets = torch.stack(counts).cpu().numpy()
    sums = [
        torch.stack([low, high, part.sum(), part.dot(part)]) for part, (low, high) in zip(parts, limits, strict=True)
    ]  # each (4,)
    moments = torch.stack(sums).double().cpu().numpy()
    return [_histogram(*row, counts=count) for row, count in zip(moments, buckets, strict=True)]


def _histogram(low: float, high: float, total: float, squares: float, *, counts: NDArray[np.int64]) -> Histogram | None:
    if not np.isfinite([low, high, total, squares]).all():
        return None
    if low == high:
        edges, kept = [float(high)], [int(counts.sum())]
    else:
        edges, kept = np.linspace(low, high, _BINS + 1)[1:].tolist(), counts.tolist()
    return Histogram(float(low), float(high), sum(kept), float(total), float(squares), edges, kept)
