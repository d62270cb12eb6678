"""Whether training reaches every parameter, and whether the answer hangs on the input."""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.config.model_sections import CustomConfig
from pipeline.models.registry import build
from pipeline.sanity.finding import Finding, named
from pipeline.sanity.subject import STEPS, Subject, answer, changed, evaluating
from pipeline.training.initialization import initialize

_SAME = 1e-6  # relative: a smaller change of the answers is rounding
_FEW_PLACES = 64  # columns or pixels that are tried one by one
_TRIED_ROWS = 32


def check_gradients(subject: Subject) -> list[Finding]:
    """Look for parameters that training cannot change: unused, without gradient, or frozen."""
    largest = subject.largest
    unused = [name for name, size in largest.items() if size is None]
    dead = [name for name, size in largest.items() if size == 0]
    broken = [name for name, size in largest.items() if size is not None and not size < torch.inf]
    found = []
    if len(unused) + len(dead) == len(largest):
        text = (
            f"none of the {len(largest)} parameters gets one in {STEPS} steps; forward() cuts it off (detach, no_grad, argmax?)"
        )
        return [Finding("FAIL", "gradients", text, stops=True)]
    if unused:
        found.append(f"forward() does not use {named(unused)}; use or remove them")
    if dead:
        found.append(f"exactly zero for all of {named(dead)} in {STEPS} steps; a layer before or after is cut off or dead")
    if broken:
        found.append(f"NaN or infinite in {named(broken)}; lower train.lr, or look at that layer")
    findings = [Finding("FAIL", "gradients", text) for text in found]
    frozen = _frozen(subject)
    if not findings and not frozen:
        return [Finding("PASS", "gradients", f"each of {len(largest)} parameters gets one")]
    return findings + frozen


def _frozen(subject: Subject) -> list[Finding]:
    """Judge parameters with requires_grad=False: pretrained values are the same under any seed, random ones are not."""
    frozen = {name: p for name, p in subject.fresh.named_parameters() if not p.requires_grad}
    if not frozen:
        return []
    model = subject.settings.model
    source = Path(model.file).read_bytes() if isinstance(model, CustomConfig) else None
    torch.manual_seed(subject.settings.seed + 1)
    other = build(subject.architecture, source=source)
    initialize(other, subject.settings.train.init)
    others = dict(other.named_parameters())
    random = [name for name, p in frozen.items() if not torch.equal(p.cpu(), others[name].cpu())]
    if random:
        text = f"{named(random)} frozen at random numbers (requires_grad=False), never trained; set requires_grad=True"
        return [Finding("FAIL", "gradients", text)]
    text = (
        f"{named(list(frozen))} frozen (requires_grad=False), not random; right where pretrained, else set requires_grad=True"
    )
    return [Finding("WARN", "gradients", text)]


def check_input_matters(subject: Subject) -> list[Finding]:
    """Change rows, then single columns or pixels, and look whether the answers change; after a few steps of training.

    The gradient with respect to the input says which places matter; what has none is tried, since a step function has none.
    """
    net, inputs = evaluating(subject.stepped), subject.inputs[:_TRIED_ROWS]
    with torch.no_grad():
        outputs = answer(net, inputs)
        smallest = _SAME * float(outputs.abs().max())
        moved = changed(outputs, answer(net, inputs + torch.randn_like(inputs)))
    if moved <= smallest:
        text = "the answers stay the same whatever the row; forward() must use its argument, and layers must not be dead"
        return [Finding("FAIL", "input matters", text, stops=True)]
    gradient = _input_gradient(net, inputs)
    silent = (gradient.flatten(1).abs().amax(0) == 0).nonzero().flatten()
    ignored = _unmoved(net, inputs, silent, smallest)
    places = inputs[0].numel()
    kind = "columns" if inputs.ndim == 2 else "numbers in an image"
    if len(ignored):
        names = named([subject.place(int(index)) for index in ignored])
        text = f"{len(ignored)} of {places} {kind} never change the answer: {names}; is a slice or a stride leaving them out?"
        return [Finding("WARN", "input matters", text)]
    return [Finding("PASS", "input matters", f"each of {places} {kind} changes the answer")]


def _input_gradient(net: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Return (rows, *shape): gradient of the outputs, weighted at random so that none cancel; zeros where there is none."""
    rows = inputs.clone().requires_grad_()
    outputs = answer(net, rows)
    if not outputs.requires_grad:
        return torch.zeros_like(inputs)
    (gradient,) = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), rows, allow_unused=True)
    return torch.zeros_like(inputs) if gradient is None else gradient


@torch.no_grad()
def _unmoved(net: torch.nn.Module, inputs: Tensor, places: Tensor, smallest: float) -> Tensor:
    """Return those of `places` (flat indices into a row) whose change leaves the answers as they are."""
    if not len(places):
        return places
    before = answer(net, inputs)

    def moves(some: Tensor) -> bool:
        rows = inputs.flatten(1).clone()
        rows[:, some] += torch.randn_like(rows[:, some])
        return changed(before, answer(net, rows.view_as(inputs))) > smallest

    if not moves(places):
        return places
    if len(places) > _FEW_PLACES:
        return places[:0]
    return places[[not moves(places[index : index + 1]) for index in range(len(places))]]
