"""What checks look at: copies of the network, and some train rows as the network takes them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.config.model_sections import ModelConfig
from pipeline.config.train_sections import TrainConfig
from pipeline.models.deployable import Deployable
from pipeline.models.registry import Architecture
from pipeline.training.assembly import Assembly
from pipeline.training.objective import Objective
from serving.schema import Schema

STEPS = 3  # layers that start at zero, on purpose, get a gradient only after the first
_STEP_SIZE = 1e-3  # learning rate of Adam, whose first steps are of that size whatever the gradient's
_ROWS, _MANY_ROWS = 64, 1024


class Settings(Protocol):
    """The keys that checks before training read: those that the stage `train` declares."""

    @property
    def seed(self) -> int:
        """`seed`."""

    @property
    def model(self) -> ModelConfig:
        """`model`."""

    @property
    def train(self) -> TrainConfig:
        """`train`."""


@dataclass(frozen=True)
class Subject:
    """A network before training, the same after a few steps, and rows.

    fresh: as training gets it. stepped: after `STEPS` steps of Adam in training mode. losses: of these steps, before each.
    largest: for each trainable parameter the largest gradient seen, None where there was none. inputs: (rows, *shape)
    normalized; targets: (rows,), or (rows, n) for labels and for several values. many: inputs and targets of more rows. raw:
    (rows, *shape) of some rows as a client sends them.
    """

    fresh: nn.Module
    stepped: nn.Module
    losses: Sequence[float]
    largest: dict[str, float | None]
    inputs: Tensor
    targets: Tensor
    many: tuple[Tensor, Tensor]
    raw: Tensor
    architecture: Architecture
    deployable: Deployable
    objective: Objective
    schema: Schema
    settings: Settings

    def place(self, index: int) -> str:
        """Return the name of a column, or the place of a pixel, by its flat index in a row as the network takes it."""
        names, shape = self.deployable.normalize.names, self.inputs.shape[1:]
        if len(shape) == 1:
            return f"{names[index]!r}" if names else f"value {index}"
        return "(" + ", ".join(str(int(axis)) for axis in torch.unravel_index(torch.tensor(index), shape)) + ")"


def subject_of(parts: Assembly, settings: Settings) -> Subject:
    """Copy what checks need. Draws random numbers: callers keep the generators."""
    inputs, targets = next(iter(parts.rows.plain.shuffled(seed=settings.seed, epoch=0)))
    many = inputs[:_MANY_ROWS].clone(), targets[:_MANY_ROWS].clone()
    at_once = -(-int(parts.choices["batch_size"]) // parts.state.parts)  # what memory is known to suffice for
    few = max(2, min(_ROWS, at_once))
    inputs, targets = (rows[:few] for rows in many)
    fresh = copy.deepcopy(parts.state.net)
    stepped, losses, largest = _stepped(fresh, parts.objective, inputs, targets)
    return Subject(
        fresh,
        stepped,
        losses,
        largest,
        inputs,
        targets,
        many,
        parts.rows.examples,
        parts.architecture,
        parts.deployable,
        parts.objective,
        parts.schema,
        settings,
    )


def evaluating(net: nn.Module) -> nn.Module:
    """Return a copy in eval mode, of which a gradient can be asked for.

    Recurrent layers stay in training mode with their dropout off, which is the same to them: on CUDA they have no gradient in
    eval mode.
    """
    copied = copy.deepcopy(net).eval()
    for module in copied.modules():
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
            module.training = True
    return copied


def measure_batches(net: nn.Module, *, on: bool) -> None:
    """Make batch normalization use each batch's statistics, as in training, or the running ones."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001  # the base of all of them
            module.training = on


def answer(net: nn.Module, inputs: Tensor, *, seed: int = 0) -> Tensor:
    """Return outputs (rows, n) on a copy of the rows, drawn from the same random numbers in each call."""
    torch.manual_seed(seed)
    outputs: Tensor = net(inputs.clone()).float()
    return outputs


def _stepped(
    net: nn.Module, objective: Objective, inputs: Tensor, targets: Tensor
) -> tuple[nn.Module, list[float], dict[str, float | None]]:
    net = copy.deepcopy(net).train()
    trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(trainable.values(), lr=_STEP_SIZE)
    losses: list[float] = []
    largest: dict[str, float | None] = dict.fromkeys(trainable)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = objective.loss(answer(net, inputs, seed=step), targets)
        loss.backward()
        losses.append(loss.item())
        for name, parameter in trainable.items():
            if parameter.grad is not None:
                largest[name] = max(largest[name] or 0.0, float(parameter.grad.abs().max()))
        optimizer.step()
    return net, losses, largest


def changed(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two answers; infinite where one is not finite."""
    return float((one - other).detach().abs().nan_to_num(nan=torch.inf).max())
