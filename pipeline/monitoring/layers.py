"""Gradients, weights and updates of each parameter, at every so many steps, at the price of three copies a look."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.monitoring.overhead import StepMonitor
from pipeline.tracking import Tracker
from pipeline.training.flat import FlatParameters
from pipeline.training.state import FitState

_MOST_NUMBERS = 3_000_000  # of looks that wait for their norms: 12 MB
_GRADIENT, _WEIGHT, _UPDATE = range(3)


class Segment(NamedTuple):
    """Where a parameter's numbers are in the flat buffers."""

    name: str
    start: int
    stop: int


def segments_of(flat: FlatParameters) -> list[Segment]:
    """Return the place of each parameter in `flat.weights` and `flat.gradients`, in the network's order."""
    places = []
    for name, parameter in flat.parameters.items():
        start = int(parameter.storage_offset())
        places.append(Segment(name, start, start + parameter.numel()))
    return places


class LayersEpoch(NamedTuple):
    """Means over the looks of one epoch, by parameter; NaN where no look had a finite number."""

    epoch: int
    gradient_norm: list[float]
    update_ratio: list[float]


class Layers(StepMonitor):
    """Records `gradient_norm`, `gradient_mean`, `gradient_variance`, `weight_norm` and `update_ratio`, each `/<parameter>`.

    Each is the mean over the epoch's looks. Gradients are those that the optimizer gets, after clipping. weight_norm: L2,
    before the step. update_ratio: L2 norm of a step's change divided by the weight's, often near 1e-3; a parameter that is all
    zero has none. What is not finite is left out.

    A look copies whole buffers; norms are computed for many looks at once, and read once an epoch.
    """

    name = "layers"

    def __init__(self, flat: FlatParameters, tracker: Tracker, *, every_steps: int, steps: int) -> None:
        """every_steps: steps between two looks. steps: in an epoch."""
        self.every_steps, self._steps, self._tracker = every_steps, steps, tracker
        self.segments = segments_of(flat)
        self.epochs: list[LayersEpoch] = []
        self._size = len(flat.weights)
        self._block: Tensor | None = None  # (looks, 3, numbers of the network)
        self._rows: list[tuple[Tensor, Tensor, Tensor]] = []
        self._waiting = 0  # looks in the block
        self._norms: list[Tensor] = []  # each (looks, parameters, 3)
        self._means: list[Tensor] = []  # each (looks, parameters)

    def before_step(self, state: FitState) -> None:
        """Keep the weights."""
        if self._block is None:
            looks = min(-(-self._steps // self.every_steps), max(1, _MOST_NUMBERS // (3 * self._size)))
            self._block = state.flat.weights.new_empty(looks, 3, self._size)
            self._rows = [(look[_GRADIENT], look[_WEIGHT], look[_UPDATE]) for look in self._block]
        self._rows[self._waiting][_WEIGHT].copy_(state.flat.weights)

    def after_step(self, state: FitState) -> None:
        """Keep the gradient, and by how much the weights changed."""
        gradient, before, update = self._rows[self._waiting]
        gradient.copy_(state.flat.gradients)
        torch.sub(state.flat.weights, before, out=update)
        self._waiting += 1
        if self._waiting == len(self._rows):
            self._reduce()

    def look(self, state: FitState) -> None:
        """Record the epoch's means."""
        self._reduce()
        if not self._norms:
            return
        norms, means = (torch.cat(parts).double().cpu().numpy() for parts in (self._norms, self._means))
        self._norms, self._means = [], []
        numbers = _averages(norms, means, [segment.stop - segment.start for segment in self.segments])
        self.epochs.append(LayersEpoch(state.epoch, numbers["gradient_norm"], numbers["update_ratio"]))
        values = {
            f"{kind}/{segment.name}": value
            for kind, of_parameters in numbers.items()
            for segment, value in zip(self.segments, of_parameters, strict=True)
            if np.isfinite(value)
        }
        self._tracker.metrics(values, step=state.epoch)

    def coarser(self) -> str | None:
        """Look at half as many steps."""
        if self.every_steps >= self._steps:
            return None
        self.every_steps *= 2
        return f"{self.every_steps} steps"

    @torch.no_grad()
    def _reduce(self) -> None:
        if self._block is None or not self._waiting:
            return
        block, self._waiting = self._block[: self._waiting], 0
        parts = [block[:, :, segment.start : segment.stop] for segment in self.segments]
        self._norms.append(torch.stack([torch.linalg.vector_norm(part, dim=2) for part in parts], dim=1))
        self._means.append(torch.stack([part[:, _GRADIENT].mean(1) for part in parts], dim=1))


def _averages(norms: NDArray[np.float64], means: NDArray[np.float64], sizes: Sequence[int]) -> dict[str, list[float]]:
    """Return, for each kind of number, the mean over looks by parameter.

    norms: (looks, parameters, 3), means: (looks, parameters), of the gradient. sizes: numbers in each parameter.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        by_kind = {
            "gradient_norm": norms[..., _GRADIENT],
            "gradient_mean": means,
            "gradient_variance": np.maximum(norms[..., _GRADIENT] ** 2 / np.asarray(sizes) - means**2, 0.0),
            "weight_norm": norms[..., _WEIGHT],
            "update_ratio": norms[..., _UPDATE] / norms[..., _WEIGHT],
        }
        averages = {}
        for kind, values in by_kind.items():
            finite = np.isfinite(values)
            averages[kind] = (np.where(finite, values, 0.0).sum(0) / finite.sum(0)).tolist()
    return averages
