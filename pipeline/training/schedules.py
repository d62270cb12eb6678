"""How the learning rate changes: a function of how much of training is done, with linear warm-up before it.

Nothing but a plateau has a state, so that a resume needs no more than the step number.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer

from pipeline.config.train_sections import ScheduleConfig
from pipeline.metrics.tasks import lower_is_better
from pipeline.training.early_stopping import Mode, monitored

_FIRST_OF_ONE_CYCLE = 1 / 25  # share of the highest learning rate, as in Smith and Topin 2019 and in torch
_PLATEAU_THRESHOLD = 1e-4  # relative, as in torch


class Schedule:
    """Sets the learning rate of every group of an optimizer."""

    def __init__(
        self,
        optimizer: Optimizer,
        rate: Callable[[float], float] | None = None,
        *,
        warmup_epochs: float = 0.0,
        every_step: bool = False,
        plateau: "Plateau | None" = None,
    ) -> None:
        """rate: epochs done, without warm-up, -> learning rate; None: constant. every_step: also between epochs."""
        self._optimizer, self._plateau, self._warmup = optimizer, plateau, warmup_epochs
        highest: float = optimizer.param_groups[0]["lr"]
        self._rate = rate or (lambda _: highest)
        self._by_step_until = math.inf if every_step else warmup_epochs

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        rate: float = self._optimizer.param_groups[0]["lr"]
        return rate

    def before_step(self, done: float, step_epochs: float) -> None:
        """Set the learning rate of a step. done: epochs, with a fraction; step_epochs: one step as a share of an epoch."""
        if done < self._by_step_until:
            self.set(done, step_epochs)

    def after_epoch(self, numbers: Mapping[str, Any], step_epochs: float) -> None:
        """Take the numbers of the epoch that ended, and set the learning rate for the next."""
        if self._plateau is not None and numbers["epoch"] > self._warmup:
            self._plateau.judge(numbers)
        self.set(float(numbers["epoch"]), step_epochs)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return self._plateau.state_dict() if self._plateau else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if self._plateau:
            self._plateau.load_state_dict(state)

    def set(self, done: float, step_epochs: float) -> None:
        """Set the learning rate for when `done` epochs are done."""
        rate = self._rate(max(0.0, done - self._warmup))
        if self._plateau is not None:
            rate = max(self._plateau.min_lr, rate * self._plateau.scale)
        if done < self._warmup:
            rate *= min(1.0, (done + step_epochs) / self._warmup)  # the first step moves, too
        for group in self._optimizer.param_groups:
            group["lr"] = rate


class Plateau:
    """Drops the learning rate when a number of the history stops improving."""

    def __init__(self, monitor: str, *, mode: Mode, factor: float, patience: int, min_lr: float) -> None:
        """factor: of a drop. patience: epochs without improvement that are still waited for. min_lr: the lowest."""
        self._monitor, self._factor, self._patience, self.min_lr = monitor, factor, patience, min_lr
        self._sign = 1.0 if mode == "min" or (mode == "auto" and lower_is_better(monitor)) else -1.0
        self.scale, self._best, self._waited = 1.0, math.inf, 0

    def judge(self, numbers: Mapping[str, Any]) -> None:
        """Take the numbers of an epoch."""
        value = self._sign * monitored(numbers, self._monitor)
        if value < self._best - _PLATEAU_THRESHOLD * (abs(self._best) if math.isfinite(self._best) else 0.0):
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited > self._patience:
            self.scale, self._waited = self.scale * self._factor, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"scale": self.scale, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.scale, self._best, self._waited = state["scale"], state["best"], state["waited"]


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, *, epochs: int, monitor: str, mode: Mode = "auto") -> Schedule:
    """Return the schedule named in config; the optimizer holds the highest learning rate."""
    highest: float = optimizer.param_groups[0]["lr"]
    length, low = max(epochs - config.warmup_epochs, 1e-9), config.min_lr
    plateau = None
    match config.name:
        case "constant":
            rate = _constant(highest)
        case "plateau":
            rate = _constant(highest)
            plateau = Plateau(monitor, mode=mode, factor=config.factor, patience=config.plateau_patience, min_lr=low)
        case "step":
            rate = lambda done: highest * config.factor ** int(done // config.step_epochs)  # noqa: E731
        case "multistep":
            dates = sorted(config.milestones)
            rate = lambda done: highest * config.factor ** bisect_right(dates, done)  # noqa: E731
        case "exponential":
            rate = lambda done: highest * config.gamma ** math.floor(done)  # noqa: E731
        case "cosine":
            rate = lambda done: _cosine(highest, low, min(done / length, 1.0))  # noqa: E731
        case "one_cycle":
            rate = _one_cycle(highest, low, rise=config.rise, length=length)
    first = config.name == "one_cycle"
    return Schedule(optimizer, rate, warmup_epochs=config.warmup_epochs, every_step=first, plateau=plateau)


def _constant(highest: float) -> Callable[[float], float]:
    return lambda _: highest


def _cosine(start: float, end: float, share: float) -> float:
    """Return the value between start and end, falling like half a cosine (Loshchilov and Hutter 2017)."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _one_cycle(highest: float, low: float, *, rise: float, length: float) -> Callable[[float], float]:
    """Rise from a 25th of the highest, then fall to the lowest, both like a cosine (Smith and Topin 2019)."""

    def rate(done: float) -> float:
        share = min(done / length, 1.0)
        if share < rise:
            return _cosine(max(highest * _FIRST_OF_ONE_CYCLE, low), highest, share / rise)
        return _cosine(highest, low, (share - rise) / (1 - rise))

    return rate
