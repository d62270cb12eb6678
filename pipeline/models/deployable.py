"""Preprocessing, network and postprocessing in one module: the thing that is evaluated, exported and served.

A client sends raw values and gets probabilities, or a value in the target's own unit; no step is left to be repeated outside.
"""

from typing import Any

import torch
from torch import Tensor, nn

from serving.schema import Task


class Normalize(nn.Module):
    """(raw - shift) / scale, with both as buffers that go into every export."""

    shift: Tensor
    scale: Tensor

    def __init__(self, statistics: dict[str, Any]) -> None:
        """statistics: {"shift", "scale"}, numbers or nested lists that broadcast over a row (pipeline.data.statistics)."""
        super().__init__()
        self.register_buffer("shift", torch.tensor(statistics["shift"], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(statistics["scale"], dtype=torch.float32))

    def forward(self, raw: Tensor) -> Tensor:
        """Normalize: any shape that the statistics broadcast over."""
        return (raw - self.shift) / self.scale

    def undo(self, normalized: Tensor) -> Tensor:
        """Return values in the raw unit."""
        return normalized * self.scale + self.shift


class Deployable(nn.Module):
    """A network between its input's normalization and its answer."""

    def __init__(self, net: nn.Module, *, task: Task, statistics: dict[str, Any]) -> None:
        """net: (batch, *shape) normalized -> (batch, outputs) logits, or normalized values."""
        super().__init__()
        self.normalize = Normalize(statistics["inputs"])
        self.net = net
        self.target = Normalize(statistics["target"])
        self.classification = task == "classification"

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, *shape) raw -> (batch, outputs) probabilities or values in the target's unit."""
        return self.finish(self.net(self.normalize(inputs)))

    def finish(self, outputs: Tensor) -> Tensor:
        """Turn the network's outputs into the answer."""
        return torch.softmax(outputs, dim=1) if self.classification else self.target.undo(outputs)
