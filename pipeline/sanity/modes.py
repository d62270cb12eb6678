"""Whether rows are answered one by one, and whether training and serving answer alike."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline.sanity.finding import Finding
from pipeline.sanity.subject import Subject, answer, changed, evaluating
from pipeline.sanity.traces import calls, parting

_SAME = 1e-4  # relative: sums in another order, as another batch size makes them, differ by less
_ROWS = 8
_LIKE_TORCH = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)  # noqa: SLF001  # bases of users' own ones, too


@torch.no_grad()
def check_eval_mode(subject: Subject) -> list[Finding]:
    """Ask twice in eval mode, with other random numbers: the answers must be the same, and the rows still what they were."""
    net, inputs = evaluating(subject.stepped), subject.inputs[:_ROWS]
    given = inputs.clone()
    net(given)
    if not torch.equal(given, inputs):
        text = "forward() writes into its rows, so the next epoch gets others; work on a copy (x = x * 2 instead of x *= 2)"
        return [Finding("FAIL", "eval mode", text, stops=True)]
    one, again, other = (answer(net, inputs, seed=seed) for seed in (0, 0, 1))
    smallest = _tolerance(one)
    if changed(one, again) > smallest:
        layer = parting(calls(net, inputs), calls(net, inputs))
        text = f"the same rows get another answer in the next call, by {changed(one, again):.3g}: {layer} remembers calls"
        return [Finding("FAIL", "eval mode", f"{text}; a served model must not")]
    if changed(one, other) > smallest:
        layer = parting(calls(net, inputs), calls(net, inputs, seed=1))
        text = f"answers are random, by {changed(one, other):.3g}: {layer} draws numbers; do so only if self.training"
        return [Finding("FAIL", "eval mode", text)]
    return [Finding("PASS", "eval mode", "the same rows get the same answers")]


@torch.no_grad()
def check_train_mode(subject: Subject) -> list[Finding]:
    """Compare train() with eval() when dropout and batch normalization are off in both: nothing else should differ."""
    inputs = subject.inputs[:_ROWS]
    train, plain = copy.deepcopy(subject.stepped).train(), copy.deepcopy(subject.stepped).eval()
    for module in train.modules():
        kind = type(module)
        if kind.__module__.startswith("torch.nn") or isinstance(module, _LIKE_TORCH) or "drop" in kind.__name__.lower():
            module.training = False
    with _NoDropout():
        one, other = answer(train, inputs), answer(plain, inputs)
        if one.shape == other.shape and changed(one, other) <= _tolerance(other):
            text = "train() and eval() differ in dropout and batch normalization alone"
            return [Finding("PASS", "train mode", text)]
        layer = parting(calls(train, inputs), calls(plain, inputs))
    what = (
        f"by {changed(one, other):.3g}"
        if one.shape == other.shape
        else f"in shape, {tuple(one.shape)} and {tuple(other.shape)}"
    )
    text = f"train() and eval() differ {what} beyond dropout and batch normalization, in {layer}; right for added noise only"
    return [Finding("WARN", "train mode", text)]


def check_rows_apart(subject: Subject) -> list[Finding]:
    """Change, remove and reorder the other rows of a batch in eval mode: a row's answer must stay."""
    net, inputs = evaluating(subject.stepped), subject.inputs[:_ROWS]
    with torch.no_grad():
        whole, again, seeded = (answer(net, inputs, seed=seed) for seed in (0, 0, 1))
    smallest = _tolerance(whole)
    if changed(whole, again) > smallest:  # the check of eval mode says why
        return [Finding("WARN", "rows apart", "not judged: the same rows get another answer in the next call")]
    for row in (0, len(inputs) - 1):
        if text := _mixing(net, inputs, whole, row):
            return [_refused(text)]
    expected, shape = (1, subject.schema.outputs), tuple(answer(net, inputs[:1]).shape)
    if shape != expected:
        text = f"one row alone, as clients send it, gets the shape {shape} instead of {expected}"
        return [_refused(f"{text}; is there a squeeze() without dim?")]
    random = changed(whole, seeded) > smallest  # random numbers fall otherwise in another batch
    if not random and (text := _batched(net, inputs, whole)):
        return [_refused(text)]
    text = f"a row's answer hangs neither on the {len(inputs) - 1} others in its batch nor on its place"
    return [Finding("PASS", "rows apart", text)]


def _mixing(net: nn.Module, inputs: Tensor, whole: Tensor, row: int) -> str | None:
    """Say that the answer to a row changes with the others, and where."""
    others = inputs.flip(0) * 1.5 + torch.randn_like(inputs)
    others[row] = inputs[row]
    with torch.no_grad():
        by_others = changed(whole[row], answer(net, others)[row])
    if by_others <= _tolerance(whole) and not _gradient_across(net, inputs, row):
        return None
    layer = parting(calls(net, inputs), calls(net, others), rows=slice(row, row + 1))
    text = f"{layer} mixes rows in eval mode: other rows in the batch change an answer by {by_others:.3g}"
    return f"{text} (answers are up to {float(whole.detach().abs().max()):.3g}); work along dim 1, not dim 0"


@torch.no_grad()
def _batched(net: nn.Module, inputs: Tensor, whole: Tensor) -> str | None:
    """Say that the answer to a row changes with the size of its batch, or its place there."""
    alone = max(changed(whole[i : i + 1], answer(net, inputs[i : i + 1])) for i in range(len(inputs)))
    moved = changed(whole, answer(net, inputs.flip(0)).flip(0))
    if alone > _tolerance(whole):
        return f"a row alone gets another answer than among {len(inputs)}, by {alone:.3g}; the batch must not count"
    if moved > _tolerance(whole):
        return f"a row at another place in its batch gets another answer, by {moved:.3g}; its place must not count"
    return None


def _refused(text: str) -> Finding:
    return Finding("FAIL", "rows apart", text, stops=True)


def _gradient_across(net: nn.Module, inputs: Tensor, row: int) -> bool:
    """Return whether an output has a gradient with respect to other rows, also where it is too small to change answers."""
    rows = inputs.clone().requires_grad_()
    outputs = answer(net, rows)
    if not outputs.requires_grad:
        return False
    weights = torch.randn_like(outputs[row])
    (gradient,) = torch.autograd.grad((outputs[row] * weights).sum(), rows, allow_unused=True)
    sizes = torch.zeros(len(rows)) if gradient is None else gradient.flatten(1).abs().amax(1)
    sizes = sizes.detach()
    return float(sizes.sum() - sizes[row]) > _SAME * float(sizes[row])


def _tolerance(outputs: Tensor) -> float:
    return _SAME * float(outputs.detach().abs().max())


class _NoDropout(TorchFunctionMode):
    """Makes dropout by function, `functional.dropout(x, training=self.training)`, do nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Pass all other calls on."""
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if "dropout" in name:
            return args[0] if args else given["input"]
        if name == "scaled_dot_product_attention":
            given["dropout_p"] = 0.0
            args = args[:4]
        return func(*args, **given)
