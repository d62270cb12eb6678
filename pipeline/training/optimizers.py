"""Optimizers and learning rate schedules, by the names in config."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from pipeline.config.sections import OptimizerConfig, ScheduleConfig
from pipeline.metrics.tasks import lower_is_better
from pipeline.training.early_stopping import monitored


def build_optimizer(net: nn.Module, config: OptimizerConfig, *, lr: float) -> Optimizer:
    """Return an optimizer over two groups: weight matrices, which decay, and norms and biases, which do not.

    Decay of a normalization's scale or of a bias only shrinks the function's range (Loshchilov and Hutter 2019 decay weights).
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = parameters[0].device.type in {"cpu", "cuda"}
    match config.name:
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=fused)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=config.momentum)


class Schedule:
    """Changes the learning rate after an epoch."""

    def __init__(self, scheduler: LRScheduler | ReduceLROnPlateau | None, monitor: str) -> None:
        """scheduler: None keeps the learning rate. monitor: what a plateau is judged by."""
        self._scheduler, self._monitor = scheduler, monitor

    def step(self, epoch: Mapping[str, Any]) -> None:
        """Take the numbers of the epoch that ended."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(monitored(epoch, self._monitor))
        elif self._scheduler is not None:
            with warnings.catch_warnings():
                # After a resume, torch has not seen the optimizer's steps that came before.
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return self._scheduler.state_dict() if self._scheduler is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state)


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, *, epochs: int, monitor: str) -> Schedule:
    """Return the schedule named in config."""
    make: dict[str, Callable[[], LRScheduler | ReduceLROnPlateau | None]] = {
        "constant": lambda: None,
        "step": lambda: StepLR(optimizer, config.step_epochs, config.factor),
        "cosine": lambda: CosineAnnealingLR(optimizer, epochs, config.min_lr),
        "plateau": lambda: ReduceLROnPlateau(
            optimizer,
            "min" if lower_is_better(monitor) else "max",
            factor=config.factor,
            patience=config.plateau_patience,
            min_lr=config.min_lr,
        ),
    }
    return Schedule(make[config.name](), monitor)
