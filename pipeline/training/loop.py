"""The only training loop: train, and later prune and distill, call `fit`."""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from pipeline.training.batches import Batches
from pipeline.training.hooks import MOMENTS, Hook
from pipeline.training.nonfinite import NonFinite, check_epoch, refuse_batch
from pipeline.training.objective import Objective
from pipeline.training.state import EpochSoFar, FitState

Tell = dict[str, list[Callable[[FitState], None]]]


def fit(
    state: FitState,
    train: Batches,
    validation: Batches,
    objective: Objective,
    *,
    seed: int,
    clip_norm: float | None = None,
    nonfinite: NonFinite = "stop",
    hooks: Sequence[Hook] = (),
) -> FitState:
    """Train `state.net` in place, from wherever `state` stands, until `state.epochs` or until a hook sets `state.stop`.

    `state.history` gets one dict for each epoch, as in `train/history.jsonl`. Raises NonFiniteLoss, naming the step, the rows
    and the layer, when a loss or a gradient is NaN or infinite and `nonfinite` is "stop".
    """
    tell = _overridden(hooks)
    _tell(tell, "on_fit_start", state)
    while state.stop is None and (state.epoch < state.epochs or state.batch):
        started = time.perf_counter()
        if not state.batch:
            state.epoch += 1
            _tell(tell, "on_epoch_start", state)
        learning_rate = state.optimizer.param_groups[0]["lr"]
        order = train.order(seed=seed, epoch=state.epoch)
        _train_epoch(state, train, order, objective, clip_norm=clip_norm, nonfinite=nonfinite, tell=tell, started=started)
        numbers = {"epoch": state.epoch, "lr": learning_rate, **_trained(state, train, order, objective)}
        numbers |= _validated(state.net, validation, objective)
        state.history.append({**numbers, "seconds": state.so_far.seconds + time.perf_counter() - started})
        state.schedule.step(state.history[-1])
        state.batch, state.so_far = 0, EpochSoFar()
        _tell(tell, "on_epoch_end", state)
    if state.stop is None:
        state.stop = "epochs"
    _tell(tell, "on_fit_end", state)
    return state


def _train_epoch(
    state: FitState,
    train: Batches,
    order: Tensor,
    objective: Objective,
    *,
    clip_norm: float | None,
    nonfinite: NonFinite,
    tell: Tell,
    started: float,
) -> None:
    """Train the batches of an epoch that are not done yet."""
    state.net.train()
    net, optimizer, so_far, before = state.net, state.optimizer, state.so_far, state.so_far.seconds
    parameters = list(net.parameters())  # walking the modules in every step would cost as much as a small layer
    # Reading a number makes an accelerator wait for Python in every step; there, "stop" is judged once an epoch.
    check_steps = nonfinite == "skip" or order.device.type == "cpu"
    for inputs, targets in train.shuffled(order, skip=state.batch):
        _tell(tell, "on_batch_start", state)
        optimizer.zero_grad(set_to_none=True)
        output = net(inputs)
        loss = objective.loss(output, targets)
        loss.backward()
        norm = _clip(parameters, clip_norm)
        _tell(tell, "on_gradients", state)
        if check_steps and not (math.isfinite(norm.item()) and math.isfinite(loss.item())):
            if nonfinite == "stop":
                refuse_batch(state, train, order, inputs, loss, norm)
            so_far.skipped += 1
        else:
            optimizer.step()
        so_far.outputs.append(output.detach())
        so_far.losses.append(loss.detach())
        so_far.norms.append(norm)
        so_far.seconds = before + time.perf_counter() - started
        state.batch += 1
        state.step += 1
        _tell(tell, "on_batch_end", state)
    so_far.seconds = before


def _trained(state: FitState, train: Batches, order: Tensor, objective: Objective) -> dict[str, float]:
    """Return the epoch's train numbers: of the outputs as training saw them, before each step changed the weights."""
    losses, norms = torch.stack(state.so_far.losses), torch.stack(state.so_far.norms)
    finite = torch.isfinite(losses) & torch.isfinite(norms)
    if not state.so_far.skipped:
        check_epoch(state, train, order, losses, norms, finite)
    rows = torch.tensor([stop - start for start, stop in train.bounds()], dtype=losses.dtype, device=losses.device)
    weights = torch.where(finite, rows, 0.0)
    metrics = objective.metrics(torch.cat(state.so_far.outputs), train.targets[order])
    numbers = {
        "loss": float((torch.where(finite, losses, 0.0) * weights).sum() / weights.sum()),
        "grad_norm": float(norms[finite].mean()),
        **({"skipped_steps": state.so_far.skipped} if state.so_far.skipped else {}),
        **metrics,
    }
    return {f"train/{name}": value for name, value in numbers.items()}


def _clip(parameters: list[nn.Parameter], clip_norm: float | None) -> Tensor:
    """Clip gradients in place and return their global L2 norm before clipping."""
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if clip_norm is not None:
        clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


@torch.no_grad()
def _validated(net: nn.Module, rows: Batches, objective: Objective) -> dict[str, float]:
    net.eval()
    outputs = torch.cat([net(inputs) for inputs, _ in rows.in_order()])
    numbers = {"loss": float(objective.loss(outputs, rows.targets)), **objective.metrics(outputs, rows.targets)}
    return {f"val/{name}": value for name, value in numbers.items()}


def _overridden(hooks: Sequence[Hook]) -> Tell:
    """Return, for each moment, the hooks that do something then: a step must not pay for those that do nothing."""
    return {
        moment: [getattr(hook, moment) for hook in hooks if getattr(type(hook), moment) is not getattr(Hook, moment)]
        for moment in MOMENTS
    }


def _tell(tell: Tell, moment: str, state: FitState) -> None:
    for hook in tell[moment]:
        hook(state)
