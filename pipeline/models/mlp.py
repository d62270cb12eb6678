"""Fully connected network."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, hidden: Sequence[int], dropout: float = 0.0) -> None:
        """input_shape: of one row; any shape is flattened. hidden: width of each hidden layer."""
        super().__init__()
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, *input_shape) -> (batch, outputs)."""
        out: Tensor = self.layers(inputs)
        return out
