"""Optimizers by the names in config, and the shortest way to one step of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from pipeline.config.train_sections import OptimizerConfig
from pipeline.training.flat import FlatParameters

_FUSED = {"cpu", "cuda"}


def build_optimizer(flat: FlatParameters, config: OptimizerConfig, *, lr: float) -> Optimizer:
    """Return an optimizer over the groups of `flat`: weight matrices decay, norms and biases do not."""
    groups: list[dict[str, Any]] = [
        {"params": [group.weights], "weight_decay": config.weight_decay if group.decays else 0.0} for group in flat.groups
    ]
    fused = flat.weights.device.type in _FUSED
    match config.name:
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=fused)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=config.momentum)


class Update:
    """`optimizer.step()` without what it asks anew in every step: a third of a small network's step.

    The first step is the optimizer's own and makes its state; the next ones call the same fused kernel on the same tensors, so
    results are the same, bit for bit. What has no fused kernel keeps the optimizer's own step.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        """Step `optimizer`."""
        self._optimizer = optimizer
        self._state: object = None
        self._calls: list[Callable[[], None]] = []

    def __call__(self) -> None:
        """Change the weights by their gradients."""
        optimizer = self._optimizer
        if optimizer.state is not self._state:  # the first step, or the first after a resume
            optimizer.step()
            self._calls = _kernels(optimizer)
            self._state = optimizer.state if self._calls else None
            return
        for call in self._calls:
            call()


def _kernels(optimizer: Optimizer) -> list[Callable[[], None]]:
    """Return one call for each group, or none where the optimizer has no fused kernel."""
    make = {torch.optim.Adam: _adam, torch.optim.AdamW: _adam, torch.optim.SGD: _sgd}.get(type(optimizer))
    groups = optimizer.param_groups
    if make is None or not all(group["fused"] for group in groups):
        return []
    return [make(optimizer, group) for group in groups]


def _adam(optimizer: Optimizer, group: dict[str, Any]) -> Callable[[], None]:
    kernel = torch._fused_adamw_ if isinstance(optimizer, torch.optim.AdamW) else torch._fused_adam_
    weights, state = group["params"], [optimizer.state[p] for p in group["params"]]
    gradients = [p.grad for p in weights]
    averages, squares, steps = ([one[name] for one in state] for name in ("exp_avg", "exp_avg_sq", "step"))
    fixed = {"weight_decay": group["weight_decay"], "eps": group["eps"], "amsgrad": False, "maximize": False}
    beta1, beta2 = group["betas"]

    def call() -> None:
        torch._foreach_add_(steps, 1)
        kernel(weights, gradients, averages, squares, [], steps, lr=group["lr"], beta1=beta1, beta2=beta2, **fixed)

    return torch.no_grad()(call)


def _sgd(optimizer: Optimizer, group: dict[str, Any]) -> Callable[[], None]:
    weights, momentum = group["params"], group["momentum"]
    gradients = [p.grad for p in weights]
    buffers = [optimizer.state[p]["momentum_buffer"] for p in weights] if momentum else []
    fixed = {"weight_decay": group["weight_decay"], "momentum": momentum, "dampening": 0.0, "nesterov": False}

    def call() -> None:
        torch._fused_sgd_(weights, gradients, buffers, lr=group["lr"], maximize=False, is_first_step=False, **fixed)

    return torch.no_grad()(call)
