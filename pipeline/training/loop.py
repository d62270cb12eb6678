"""The only training loop: train, and later prune and distill, call `fit`."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import NonFiniteLoss
from pipeline.training.batches import Batches
from pipeline.training.hooks import MOMENTS, Hook
from pipeline.training.nonfinite import NonFinite, check_epoch, refuse_batch
from pipeline.training.objective import Objective
from pipeline.training.state import EpochSoFar, FitState
from pipeline.training.step import Step, StepOptions

Tell = dict[str, list[Callable[[FitState], None]]]


def fit(
    state: FitState,
    train: Batches,
    validation: Batches,
    objective: Objective,
    *,
    seed: int,
    options: StepOptions | None = None,
    nonfinite: NonFinite = "stop",
    measured: Batches | None = None,
    hooks: Sequence[Hook] = (),
) -> FitState:
    """Train `state.net` in place, from wherever `state` stands, until `state.epochs` or until a hook sets `state.stop`.

    `state.history` gets one dict for each epoch, as in `train/history.jsonl`. measured: train rows to measure again after each
    epoch, in eval mode, as `train_eval/…`: the train numbers are of outputs while weights changed. Raises NonFiniteLoss, naming
    the step, the rows and the layer, when a loss or a gradient is NaN or infinite and `nonfinite` is "stop".
    """
    work = _Work(state, train, objective, Step(state, objective.loss, options or StepOptions()), seed, nonfinite, _tell(hooks))
    work.tell("on_fit_start")
    while state.stop is None and (state.epoch < state.epochs or state.batch):
        started = time.perf_counter()
        if not state.batch:
            state.epoch += 1
            work.tell("on_epoch_start")
        before = state.so_far.seconds
        learning_rate = work.train_epoch(started)
        numbers = {"epoch": state.epoch, "lr": learning_rate, **work.trained()}
        with state.evaluated():
            state.validated = outputs_of(state.net, validation)
            scores = {"val": _measured(*state.validated, objective)}
            if measured is not None:
                scores["train_eval"] = measure(state.net, measured, objective)
        numbers |= {f"{split}/{name}": value for split, found in scores.items() for name, value in found.items()}
        state.history.append({**numbers, "seconds": before + time.perf_counter() - started})
        state.flat.check_attached()
        state.schedule.after_epoch(state.history[-1], 1 / len(train))
        state.batch, state.done, state.so_far = 0, state.so_far, EpochSoFar()
        work.tell("on_epoch_end")
    if state.stop is None:
        state.stop = "epochs"
    work.tell("on_fit_end")
    return state


@dataclass(frozen=True)
class _Work:
    """What an epoch needs."""

    state: FitState
    batches: Batches
    objective: Objective
    step: Step
    seed: int
    nonfinite: NonFinite
    hooks: Tell

    def tell(self, moment: str) -> None:
        """Call the hooks of a moment."""
        for hook in self.hooks[moment]:
            hook(self.state)

    def train_epoch(self, started: float) -> float:
        """Train the batches of an epoch that are not done yet; return the learning rate of the last one."""
        state, so_far, step = self.state, self.state.so_far, self.step
        before, share = so_far.seconds, 1 / len(self.batches)
        on_start, on_gradients, on_end = (self.hooks[name] for name in ("on_batch_start", "on_gradients", "on_batch_end"))
        # Reading a number makes an accelerator wait for Python in every step; there, "stop" is judged once an epoch.
        check_steps = self.nonfinite == "skip" or state.scaler is not None or state.flat.weights.device.type == "cpu"
        state.net.train()
        rate = state.schedule.learning_rate
        for inputs, targets in self.batches.shuffled(seed=self.seed, epoch=state.epoch, skip=state.batch):
            state.schedule.before_step(state.epoch - 1 + state.batch * share, share)
            rate = state.schedule.learning_rate
            for hook in on_start:
                hook(state)
            output, loss, norm = step.gradients(inputs, targets)
            for hook in on_gradients:
                hook(state)
            sound = not check_steps or math.isfinite(loss.item())
            if sound and (not check_steps or math.isfinite(norm.item())):
                step.update()
            else:
                self._not_finite(inputs, loss, norm)
            so_far.add(output, targets, loss, norm, sound=sound)
            so_far.seconds = before + time.perf_counter() - started
            state.batch += 1
            state.step += 1
            for hook in on_end:
                hook(state)
        return rate

    def _not_finite(self, inputs: Tensor, loss: Tensor, norm: Tensor) -> None:
        overflow = self.state.scaler is not None and math.isfinite(loss.item())  # float16 finds its scale by such steps
        if self.nonfinite == "stop" and not overflow:
            refuse_batch(self.state, self.batches, self.seed, inputs, loss, norm)
        self.state.so_far.skipped += 1
        self.step.skip()

    def trained(self) -> dict[str, float]:
        """Return the epoch's train numbers: of the outputs as training saw them, before each step changed the weights."""
        so_far, state = self.state.so_far, self.state
        losses, norms = so_far.per_batch()
        finite = torch.isfinite(losses) & torch.isfinite(norms)
        if not so_far.skipped:
            check_epoch(state, self.batches, self.seed, losses, norms, finite)
        rows = torch.full_like(losses, self.batches.batch_size)
        rows[-1] = self.batches.rows - self.batches.batch_size * (len(losses) - 1)
        weights = torch.where(finite, rows, 0.0)
        if not so_far.targets:
            raise NonFiniteLoss(f"train: epoch {state.epoch}: no step had a finite loss; lower train.lr, and look at the rows")
        numbers = {
            "loss": float((torch.where(finite, losses, 0.0) * weights).sum() / weights.sum()),
            "grad_norm": float(norms[finite].mean()),
            **({"skipped_steps": so_far.skipped} if so_far.skipped else {}),
            **self.objective.metrics(torch.cat(so_far.outputs), torch.cat(so_far.targets)),
        }
        return {f"train/{name}": value for name, value in numbers.items()}


def measure(net: nn.Module, batches: Batches, objective: Objective) -> dict[str, float]:
    """Return loss and metrics of rows in eval mode, over all of them at once."""
    return _measured(*outputs_of(net, batches), objective)


@torch.no_grad()
def outputs_of(net: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return the outputs (rows, n) in eval mode and the targets, (rows,) or (rows, n)."""
    net.eval()
    pairs = [(net(inputs), targets) for inputs, targets in batches.in_order()]
    return torch.cat([output for output, _ in pairs]), torch.cat([target for _, target in pairs])


@torch.no_grad()
def _measured(outputs: Tensor, targets: Tensor, objective: Objective) -> dict[str, float]:
    return {"loss": float(objective.loss(outputs, targets)), **objective.metrics(outputs, targets)}


def _tell(hooks: Sequence[Hook]) -> Tell:
    """Return, for each moment, the hooks that do something then: a step must not pay for those that do nothing."""
    return {
        moment: [getattr(hook, moment) for hook in hooks if getattr(type(hook), moment) is not getattr(Hook, moment)]
        for moment in MOMENTS
    }
