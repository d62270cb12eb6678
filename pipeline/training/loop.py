"""The only training loop: train, and later prune and distill, call `fit`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from pipeline.errors import NonFiniteLoss
from pipeline.training.batches import Batches
from pipeline.training.hooks import Hook
from pipeline.training.objective import Objective
from pipeline.training.optimizers import Schedule

_NAMED_ROWS = 8


@dataclass
class FitState:
    """Everything that hooks may look at. `epoch` counts from 1, `step` over the whole fit; `stop` is the reason to end."""

    net: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    epochs: int
    epoch: int = 0
    step: int = 0
    stop: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    net: nn.Module,
    train: Batches,
    validation: Batches,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    epochs: int,
    seed: int,
    clip_norm: float | None = None,
    hooks: Sequence[Hook] = (),
) -> FitState:
    """Train `net` in place and return the state with its history: one dict for each epoch, as in `train/history.jsonl`.

    Raises NonFiniteLoss after the epoch in which a loss became NaN or infinite, naming the step and the rows.
    """
    state = FitState(net, optimizer, schedule, epochs)
    _tell(hooks, "on_fit_start", state)
    while state.epoch < epochs and state.stop is None:
        started = time.perf_counter()
        state.epoch += 1
        learning_rate = optimizer.param_groups[0]["lr"]
        _tell(hooks, "on_epoch_start", state)
        trained = _train_epoch(state, train, objective, seed=seed, clip_norm=clip_norm, hooks=hooks)
        validated = _validate(net, validation, objective)
        numbers = {f"train/{name}": value for name, value in trained.items()}
        numbers |= {f"val/{name}": value for name, value in validated.items()}
        state.history.append({"epoch": state.epoch, "lr": learning_rate, **numbers, "seconds": time.perf_counter() - started})
        schedule.step(state.history[-1])
        _tell(hooks, "on_epoch_end", state)
    if state.stop is None:
        state.stop = "epochs"
    _tell(hooks, "on_fit_end", state)
    return state


def _train_epoch(
    state: FitState, train: Batches, objective: Objective, *, seed: int, clip_norm: float | None, hooks: Sequence[Hook]
) -> dict[str, float]:
    """Train one epoch; metrics are those of the outputs as training saw them, before each step changed the weights."""
    state.net.train()
    order = train.order(seed=seed, epoch=state.epoch)
    # Collected on the device and read once: reading a number in each step would make the device wait for Python.
    outputs, losses, norms = [], [], []
    for inputs, targets in train.shuffled(order):
        state.step += 1
        _tell(hooks, "on_batch_start", state)
        state.optimizer.zero_grad(set_to_none=True)
        output = state.net(inputs)
        loss = objective.loss(output, targets)
        loss.backward()
        norms.append(_clip(state.net, clip_norm))
        _tell(hooks, "on_gradients", state)
        state.optimizer.step()
        outputs.append(output.detach())
        losses.append(loss.detach())
        _tell(hooks, "on_batch_end", state)
    step_losses, step_norms = torch.stack(losses), torch.stack(norms)
    _check_finite(state, train, order, step_losses, step_norms)
    weights = torch.tensor([stop - start for start, stop in train.bounds()], dtype=step_losses.dtype, device=step_losses.device)
    mean_loss = float((step_losses * weights).sum() / weights.sum())
    metrics = objective.metrics(torch.cat(outputs), train.targets[order])
    return {"loss": mean_loss, "grad_norm": float(step_norms.mean()), **metrics}


def _clip(net: nn.Module, clip_norm: float | None) -> Tensor:
    """Clip gradients in place and return their global L2 norm before clipping."""
    if clip_norm is not None:
        return clip_grad_norm_(net.parameters(), clip_norm)
    return get_total_norm([p.grad for p in net.parameters() if p.grad is not None])


def _check_finite(state: FitState, train: Batches, order: Tensor, losses: Tensor, norms: Tensor) -> None:
    broken = ~(torch.isfinite(losses) & torch.isfinite(norms))
    if not bool(broken.any()):
        return
    index = int(broken.nonzero()[0])
    start, stop = train.bounds()[index]
    rows = order[start:stop].tolist()
    shown = ", ".join(str(row) for row in rows[:_NAMED_ROWS]) + (" …" if len(rows) > _NAMED_ROWS else "")
    raise NonFiniteLoss(
        f"train: epoch {state.epoch}, step {index + 1} of {len(losses)}: loss {float(losses[index])}, gradient norm "
        f"{float(norms[index])}; train rows of the batch: {shown}; lower train.lr or set train.clip_norm=1"
    )


@torch.no_grad()
def _validate(net: nn.Module, rows: Batches, objective: Objective) -> dict[str, float]:
    net.eval()
    outputs = torch.cat([net(inputs) for inputs, _ in rows.in_order()])
    return {"loss": float(objective.loss(outputs, rows.targets)), **objective.metrics(outputs, rows.targets)}


def _tell(hooks: Sequence[Hook], moment: str, state: FitState) -> None:
    for hook in hooks:
        getattr(hook, moment)(state)
