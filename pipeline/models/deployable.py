"""Preprocessing, network and postprocessing in one module: the thing that is evaluated, exported and served.

A client sends raw values and gets probabilities, or a value in the target's own unit; no step is left to be repeated outside.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.tabular import TableInputs
from serving.schema import Feature, Task

_LARGEST_LOG = 88.7  # exp of it is the largest that float32 holds, but for 3 %


class Normalize(nn.Module):
    """(raw - shift) / scale, with both as buffers that go into every export."""

    shift: Tensor
    scale: Tensor
    embeddings: tuple[tuple[int, int], ...] = ()

    def __init__(self, statistics: dict[str, Any], features: Sequence[Feature] = ()) -> None:
        """statistics: {"shift", "scale"}, numbers or nested lists that broadcast over a row (pipeline.data.statistics).

        features: of a table, for `names`.
        """
        super().__init__()
        self.register_buffer("shift", torch.tensor(statistics["shift"], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(statistics["scale"], dtype=torch.float32))
        self.names = tuple(feature.name for feature in features)

    @property
    def is_raw(self) -> bool:
        """Whether rows reach the network as they are."""
        return bool((self.scale == 1).all()) and bool((self.shift == 0).all())

    def forward(self, raw: Tensor) -> Tensor:
        """Normalize: any shape that the statistics broadcast over."""
        return (raw - self.shift) / self.scale

    def undo(self, normalized: Tensor) -> Tensor:
        """Return values in the raw unit."""
        return normalized * self.scale + self.shift


class Target(Normalize):
    """A regression's target as the loss takes it, and back: normalized, of its logarithm where `log` says so."""

    def __init__(self, statistics: dict[str, Any]) -> None:
        """statistics: {"shift", "scale"}, numbers, or one for each of several outputs; "log": whether log(1 + y) is learned."""
        super().__init__(statistics)
        self.log: bool = statistics.get("log", False)

    def forward(self, raw: Tensor) -> Tensor:
        """(rows,) with one output, or (rows, outputs), in the target's unit -> the same shape, normalized."""
        return super().forward(torch.log1p(raw) if self.log else raw)

    def undo(self, normalized: Tensor) -> Tensor:
        """Return values in the target's unit, finite where `normalized` is."""
        values = super().undo(normalized)
        if not self.log:
            return values
        values = values.clamp(max=_LARGEST_LOG)
        return torch.tanh(values / 2) * (torch.exp(values) + 1)  # expm1, which ONNX lacks, exact around 0


class Deployable(nn.Module):
    """A network between its input's preprocessing and its answer."""

    def __init__(self, net: nn.Module, *, task: Task, statistics: dict[str, Any], features: Sequence[Feature] = ()) -> None:
        """net: (batch, *shape) preprocessed -> (batch, outputs) logits, or normalized values. features: of a table's schema."""
        super().__init__()
        self.normalize = preprocessing(statistics["inputs"], features)
        self.net = net
        self.target = Target(statistics["target"])
        self.task = task

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, *shape) raw -> (batch, outputs) probabilities or values in the target's unit."""
        return self.finish(self.net(self.normalize(inputs)))

    def finish(self, outputs: Tensor) -> Tensor:
        """Turn the network's outputs into the answer."""
        match self.task:
            case "classification":
                return torch.softmax(outputs, dim=1)
            case "multilabel":
                return torch.sigmoid(outputs)
            case "regression":
                return self.target.undo(outputs)


def preprocessing(statistics: dict[str, Any], features: Sequence[Feature] = ()) -> Normalize | TableInputs:
    """Return the module for the statistics of the inputs: of a table with more than numbers, or {"shift", "scale"}."""
    return TableInputs(statistics, features) if statistics.get("kind") == "table" else Normalize(statistics, features)


def preprocessed_shape(normalize: Normalize | TableInputs, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a preprocessed row; `shape`: of a raw one."""
    return (normalize.width,) if isinstance(normalize, TableInputs) else shape
