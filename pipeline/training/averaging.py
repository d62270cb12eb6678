"""Exponential moving average of the weights (Polyak and Juditsky 1992): smoother than the last step, at no step's cost.

What is validated, kept as best and served is the average; what the optimizer changes stays as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training.flat import FlatParameters


class Average:
    """The average of a network's parameters and of its floating-point buffers, such as batch normalization's statistics."""

    def __init__(self, net: nn.Module, flat: FlatParameters, *, decay: float) -> None:
        """decay: share of the old average that a step keeps, smaller in the first steps."""
        self._decay, self._steps = decay, 0
        self._live = [flat.weights, *(b for b in net.buffers() if b.is_floating_point())]
        self._average = [tensor.detach().clone() for tensor in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step."""
        self._steps += 1
        # As many steps as there were, a tenth of them forgotten: the random start must not linger.
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._average, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, average in zip(self._live, self._average, strict=True):
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"steps": self._steps, "average": [tensor.cpu() for tensor in self._average]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._steps = state["steps"]
        saved: list[Tensor] = state["average"]
        for tensor, value in zip(self._average, saved, strict=True):
            tensor.copy_(value)
