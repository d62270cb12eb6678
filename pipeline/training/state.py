"""Where a fit stands, down to the batch: everything that decides what comes next, so that a resume continues bit for bit."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from pipeline.training.averaging import Average
from pipeline.training.flat import FlatParameters
from pipeline.training.randomness import rng_state, set_rng_state
from pipeline.training.schedules import Schedule

_MOST_KEPT = 16_000_000  # outputs of an epoch that are kept for its metrics: 64 MB
_PACKED_AT = 4096  # batches


@dataclass
class EpochSoFar:
    """What the batches of an unfinished epoch gave; collected on the device and read once, when the epoch ends."""

    outputs: list[Tensor] = field(default_factory=list)  # each (batch, outputs)
    targets: list[Tensor] = field(default_factory=list)  # each (batch,)
    losses: list[Tensor] = field(default_factory=list)  # each scalar
    norms: list[Tensor] = field(default_factory=list)  # each scalar: global L2 norm of the gradient before clipping
    packed: list[Tensor] = field(default_factory=list)  # losses and norms of batches before those, each (2, batches)
    kept: int = 0  # numbers in `outputs`
    skipped: int = 0  # steps left out because they were not finite
    seconds: float = 0.0  # before an interruption

    def add(self, output: Tensor, targets: Tensor, loss: Tensor, norm: Tensor, *, sound: bool = True) -> None:
        """Note one batch; where the loss was not finite, loss and norm alone.

        Of a very large epoch the metrics are measured on the first rows, which are random ones.
        """
        self.losses.append(loss)
        self.norms.append(norm)
        if sound and self.kept < _MOST_KEPT:
            self.outputs.append(output)
            self.targets.append(targets)
            self.kept += output.numel()
        if len(self.losses) == _PACKED_AT:
            self._pack()

    def per_batch(self) -> tuple[Tensor, Tensor]:
        """Return the loss and the gradient norm of each batch, both (batches,)."""
        recent = [torch.stack([torch.stack(self.losses), torch.stack(self.norms)])] if self.losses else []
        losses, norms = torch.cat([*self.packed, *recent], dim=1)
        return losses, norms

    def _pack(self) -> None:
        """Join what many batches gave: a tensor takes half a kilobyte beside its numbers."""
        self.packed.append(torch.stack([torch.stack(self.losses), torch.stack(self.norms)]))
        self.losses, self.norms = [], []
        if self.outputs:
            self.outputs, self.targets = [torch.cat(self.outputs)], [torch.cat(self.targets)]

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers."""
        return {name: _cpu(value) for name, value in vars(self).items()}


@dataclass
class FitState:
    """Everything that hooks may look at.

    `epoch` counts from 1 and names the epoch in work, or the last one; `batch` says how many batches of it are done, 0 between
    epochs; `step` counts batches over the whole fit; `stop` is the reason to end. `forward` is the network as training calls
    it, perhaps compiled; `parts` is how many parts a step is computed in; `done` is what the last complete epoch gave, and
    `validated` the outputs and targets of its validation rows. Neither is in a checkpoint.
    """

    net: nn.Module
    flat: FlatParameters
    optimizer: Optimizer
    schedule: Schedule
    epochs: int
    average: Average | None = None
    scaler: GradScaler | None = None
    forward: Callable[[Tensor], Tensor] | None = None
    parts: int = 1
    epoch: int = 0
    batch: int = 0
    step: int = 0
    stop: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    so_far: EpochSoFar = field(default_factory=EpochSoFar)
    done: EpochSoFar = field(default_factory=EpochSoFar)
    validated: tuple[Tensor, Tensor] | None = None  # (rows, outputs), (rows,)

    def evaluated(self) -> AbstractContextManager[None]:
        """Return a context in which `net` has the weights that are validated, kept and served."""
        return self.average.applied() if self.average is not None else nullcontext()

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that are validated, kept and served, on the CPU."""
        with self.evaluated():
            return {name: tensor.detach().cpu().clone() for name, tensor in self.net.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides what comes next, the random generators too."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "stop": self.stop,
            "parts": self.parts,
            "history": self.history,
            "so_far": self.so_far.state_dict(),
            "weights": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "rng": rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken; nothing may draw random numbers between this and the next batch."""
        device = next(self.net.parameters()).device
        self.net.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        for name in ("epoch", "batch", "step", "stop", "parts"):
            setattr(self, name, state[name])
        self.history = state["history"]
        self.so_far = EpochSoFar(**{name: _to(value, device) for name, value in state["so_far"].items()})
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.load_state_dict(state["scaler"])
        set_rng_state(state["rng"])


def _cpu(value: Any) -> Any:
    return [tensor.cpu() for tensor in value] if isinstance(value, list) else value


def _to(value: Any, device: torch.device) -> Any:
    return [tensor.to(device) for tensor in value] if isinstance(value, list) else value
