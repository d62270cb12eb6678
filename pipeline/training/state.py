"""Where a fit stands, down to the batch: everything that decides what comes next, so that a resume continues bit for bit."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.training.optimizers import Schedule


@dataclass
class EpochSoFar:
    """What the batches of an unfinished epoch gave; collected on the device and read once, when the epoch ends."""

    outputs: list[Tensor] = field(default_factory=list)  # each (batch, outputs)
    losses: list[Tensor] = field(default_factory=list)  # each scalar
    norms: list[Tensor] = field(default_factory=list)  # each scalar: global L2 norm of the gradient before clipping
    skipped: int = 0  # steps left out because they were not finite
    seconds: float = 0.0  # before an interruption

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers."""
        return {name: _cpu(value) for name, value in vars(self).items()}


@dataclass
class FitState:
    """Everything that hooks may look at.

    `epoch` counts from 1 and names the epoch in work, or the last one; `batch` says how many batches of it are done, 0 between
    epochs; `step` counts batches over the whole fit; `stop` is the reason to end.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    epochs: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    stop: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    so_far: EpochSoFar = field(default_factory=EpochSoFar)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides what comes next, torch's random generators too."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "stop": self.stop,
            "history": self.history,
            "so_far": self.so_far.state_dict(),
            "weights": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": _rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken; nothing may draw random numbers between this and the next batch."""
        device = next(self.net.parameters()).device
        self.net.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.batch, self.step, self.stop = (state[name] for name in ("epoch", "batch", "step", "stop"))
        self.history = state["history"]
        self.so_far = EpochSoFar(**{name: _to(value, device) for name, value in state["so_far"].items()})
        _set_rng_state(state["rng"])


def _rng_state() -> dict[str, Any]:
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _cpu(value: Any) -> Any:
    return [tensor.cpu() for tensor in value] if isinstance(value, list) else value


def _to(value: Any, device: torch.device) -> Any:
    return [tensor.to(device) for tensor in value] if isinstance(value, list) else value
