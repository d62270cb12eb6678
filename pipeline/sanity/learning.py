"""Whether the network can learn at all: one batch by heart, and better than a guess on rows it has not seen."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.sanity.finding import Finding
from pipeline.sanity.subject import Subject, evaluating, measure_batches
from serving.schema import Task

_BY_HEART_ROWS, _BY_HEART_STEPS, _BY_HEART_RATES = 16, 300, (1e-2, 1e-3, 1e-1)
_LEARNED, _HALF = 0.05, 0.5  # share of the loss of the best constant answer that is left
_FEW_STEPS = 50  # fewer say nothing
_LABEL_STEPS, _LOOK_EVERY, _LABEL_RATES, _BATCH = 300, 30, (3e-3, 3e-4), 32
_FEW_ROWS = 500  # below that, three trainings take turns in what they keep aside
_FOLDS = 3
_CLEARLY = 3.0  # standard errors
_BUDGET_S = 4.0  # for each learning rate


@dataclass(frozen=True)
class _Task:
    """Rows, and the plain loss of each row: (binary) cross entropy or squared error, whatever `train.loss` adds to it.

    targets: (rows,) classes, or (rows, outputs) labels or normalized values.
    """

    inputs: Tensor
    targets: Tensor
    kind: Task
    outputs: int

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (rows,) of outputs (rows, n)."""
        match self.kind:
            case "classification":
                return functional.cross_entropy(outputs, targets, reduction="none")
            case "multilabel":
                return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)
            case "regression":
                return functional.mse_loss(outputs, targets, reduction="none").mean(1)

    def constant(self, targets: Tensor, known: Tensor) -> Tensor:
        """Return (rows,) losses of the best answer that looks at no row: shares of classes or labels, or means, of `known`."""
        few = 1e-6 if known is targets else 1.0
        match self.kind:
            case "classification":
                counts = torch.bincount(known, minlength=self.outputs).float() + few
                return -(counts / counts.sum()).log()[targets]
            case "multilabel":
                share = ((known.sum(0) + few) / (len(known) + 2 * few)).expand_as(targets)
                return functional.binary_cross_entropy(share, targets, reduction="none").mean(1)
            case "regression":
                return (targets - known.mean(0)).square().mean(1)


def check_overfits(subject: Subject) -> list[Finding]:
    """Train a copy on a few rows, without dropout and augmentation: any network that works learns them by heart."""
    task = _task(subject)
    chosen = _distinct(task)
    inputs, targets = task.inputs[chosen], task.targets[chosen]
    start = float(task.constant(targets, targets).mean())
    if len(chosen) < 2 or start < 1e-3:
        return [Finding("WARN", "learn by heart", "the first rows all have the same target; nothing to judge")]
    best, steps, rate = math.inf, 0, 0.0
    for tried in _BY_HEART_RATES:
        lowest, done = _by_heart(subject.fresh, task, (inputs, targets), tried, goal=_LEARNED * start)
        if lowest < best:
            best, steps, rate = lowest, done, tried
        if best < _LEARNED * start:
            break
    text = f"loss of {len(chosen)} rows from {start:.3g} to {best:.2g} in {steps} steps of Adam at {rate:g}"
    if best < _LEARNED * start:
        return [Finding("PASS", "learn by heart", f"{text}; with shuffled labels, too: that is for 'labels fit'")]
    if steps < _FEW_STEPS:
        return [Finding("WARN", "learn by heart", f"{text}; too slow here to judge")]
    if best < _HALF * start:
        return [Finding("WARN", "learn by heart", f"{text}; a small or linear network may stop there, another should reach 0")]
    return [
        Finding(
            "FAIL", "learn by heart", f"{text}; it should reach 0: does the input reach the output, and the loss the weights?"
        )
    ]


def _by_heart(net: nn.Module, task: _Task, rows: tuple[Tensor, Tensor], rate: float, *, goal: float) -> tuple[float, int]:
    """Return the lowest loss, and after how many steps."""
    inputs, targets = rows
    net = evaluating(net)
    measure_batches(net, on=True)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=rate)
    lowest, at, ends = math.inf, 0, time.perf_counter() + _BUDGET_S
    for step in range(_BY_HEART_STEPS + 1):
        optimizer.zero_grad()
        loss = task.losses(net(inputs.clone()).float(), targets).mean()
        if loss.item() < lowest:
            lowest, at = loss.item(), step
        if lowest < goal or not math.isfinite(loss.item()) or time.perf_counter() > ends:
            break
        loss.backward()
        optimizer.step()
    return lowest, at


def check_labels(subject: Subject) -> list[Finding]:
    """Train shortly and look at train rows that were kept aside: a network that knows nothing about them learns no labels.

    Labels that are shuffled against their rows can be learned by heart, and have the same shares; only rows kept aside tell.
    """
    task = _task(subject)
    found = [_compared(subject.fresh, task, rate) for rate in _LABEL_RATES[:1]]
    if not found[0].clear:
        found += [_compared(subject.fresh, task, rate) for rate in _LABEL_RATES[1:]]
    best = max(found, key=lambda one: one.errors)
    kept = f"{best.rows} train rows kept aside: loss {best.loss:.3g} after {best.steps} steps"
    text = f"{kept}, {best.constant:.3g} without looking at them"
    if best.clear:
        return [Finding("PASS", "labels fit", text)]
    if best.steps_done < _FEW_STEPS:
        return [Finding("WARN", "labels fit", f"{text}; too slow here to judge")]
    mend = "labels may be shuffled against rows, or there is little to learn; look at some rows beside their labels"
    return [Finding("WARN", "labels fit", f"{text}; {mend}")]


@dataclass(frozen=True)
class _Comparison:
    """Mean losses on rows kept aside; errors: how many standard errors the network is better."""

    rows: int
    steps: int
    loss: float
    constant: float
    errors: float
    steps_done: int

    @property
    def clear(self) -> bool:
        """Whether chance is no explanation."""
        return self.errors > _CLEARLY and self.loss < self.constant


def _compared(net: nn.Module, task: _Task, rate: float) -> _Comparison:
    count = len(task.targets)
    turns = _FOLDS if count < _FEW_ROWS else 1
    place = torch.arange(count, device=task.inputs.device) % _FOLDS
    courses = [list(_course(net, task, place != turn, place == turn, rate, _BUDGET_S / turns)) for turn in range(turns)]
    constant = torch.cat([task.constant(task.targets[place == t], task.targets[place != t]) for t in range(turns)])
    best: _Comparison | None = None
    looks = min(len(course) for course in courses)
    for look in range(looks):
        losses = torch.cat([course[look] for course in courses])
        gain = constant - losses
        errors = (
            float(gain.mean() / (gain.std() / math.sqrt(len(gain)) + 1e-12)) if bool(losses.isfinite().all()) else -math.inf
        )
        if best is None or errors > best.errors:
            steps = look * _LOOK_EVERY
            best = _Comparison(
                len(gain), steps, float(losses.mean()), float(constant.mean()), errors, (looks - 1) * _LOOK_EVERY
            )
    assert best is not None
    return best


def _course(net: nn.Module, task: _Task, known: Tensor, aside: Tensor, rate: float, budget_s: float) -> Iterator[Tensor]:
    """Train on `known` rows and yield the losses (rows aside,) every few steps, the first before any."""
    net = evaluating(net)
    inputs, targets = task.inputs[known], task.targets[known]
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=rate)
    ends = time.perf_counter() + budget_s
    for step in range(_LABEL_STEPS + 1):
        if step % _LOOK_EVERY == 0:
            measure_batches(net, on=False)
            with torch.no_grad():
                yield task.losses(net(task.inputs[aside]).float(), task.targets[aside])
            measure_batches(net, on=True)
        if time.perf_counter() > ends:
            return
        chosen = torch.randint(len(targets), (min(_BATCH, len(targets)),)).to(targets.device)
        optimizer.zero_grad()
        task.losses(net(inputs[chosen]).float(), targets[chosen]).mean().backward()
        optimizer.step()


def _task(subject: Subject) -> _Task:
    inputs, targets = subject.many
    schema = subject.schema
    if schema.task == "regression":
        values = subject.deployable.target(targets).reshape(len(targets), -1)  # (rows, outputs)
        spread = values.std(0, correction=0)
        targets = (values - values.mean(0)) / torch.where(spread > 0, spread, 1.0)
    return _Task(inputs, targets, schema.task, schema.outputs)


def _distinct(task: _Task) -> Tensor:
    """Return numbers of a few rows, no two the same, taking turns over the classes or sets of labels."""
    rows = torch.unique(task.inputs.flatten(1).cpu(), dim=0, return_inverse=True)[1]
    seen: dict[int, int] = {}
    for index, group in enumerate(rows.tolist()):
        seen.setdefault(group, index)
    first = sorted(seen.values())
    if task.kind == "regression":
        return torch.tensor(first[:_BY_HEART_ROWS], device=task.inputs.device)
    turns: dict[str, int] = {}
    order = []
    for index in first:
        label = str(task.targets[index].tolist())
        turns[label] = turns.get(label, -1) + 1
        order.append((turns[label], index))
    return torch.tensor([index for _, index in sorted(order)[:_BY_HEART_ROWS]], device=task.inputs.device)
