"""What becomes of a network in steps: a cut or zeros, its proof, and a training after it."""

from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from pipeline.compression.cutting import cut, largest_difference, silenced
from pipeline.compression.dependencies import Block, Dependencies, find_dependencies
from pipeline.compression.importance import channel_scores, least_important
from pipeline.compression.pruning_training import Training
from pipeline.compression.sparsity import apply_masks, broken_zeros, two_of_four_masks, unstructured_masks, weights_of
from pipeline.config.compression_sections import PruneConfig
from pipeline.errors import GateRefused, UserError
from pipeline.models.macs import layer_rows, total_of

_SAME = 1e-4  # relative: sums of fewer numbers are rounded in another order


class Size(msgspec.Struct, frozen=True):
    """What a network takes. stored_bytes: of its parameters and buffers. macs: of one row, in layers that can be counted."""

    parameters: int
    stored_bytes: int
    macs: int
    uncounted: list[str] = []


class Step(msgspec.Struct, frozen=True):
    """One cut: what was measured on validation rows right after it, and after training on; None without training."""

    size: Size
    cut: dict[str, float]
    trained: dict[str, float] | None


@dataclass(frozen=True)
class Reduced:
    """A smaller network, in eval mode, on the CPU. whole: layer → why it was left as it is. widths: layer → its outputs."""

    net: nn.Module
    steps: list[Step]
    whole: dict[str, str]
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)  # before, after


def size_of(net: nn.Module, inputs: Tensor) -> Size:
    """Return what a network takes; `inputs`: (rows, *shape)."""
    with torch.no_grad():
        rows = layer_rows(net.eval(), inputs)
    tensors = [*net.parameters(), *net.buffers()]
    return Size(
        parameters=sum(p.numel() for p in net.parameters()),
        stored_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        macs=total_of(rows).macs or 0,
        uncounted=[row.name for row in rows if row.macs is None],
    )


def cut_channels(net: nn.Module, section: PruneConfig, training: Training, *, seed: int) -> Reduced:
    """Take channels out of `net` and train it on, `steps` times, so that 1 - amount of them are left.

    Raises GateRefused where nothing can be cut, and where a cut changes more than the channels' own share of the answers.
    """
    inputs, steps = training.examples(), list[Step]()
    first = found = find_dependencies(net, inputs)
    _check_room(found)
    widths = {block.layers: len(block.channels) for block in found.blocks}
    for number in range(1, section.steps + 1):
        changes = training.changes_of_loss(net) if section.importance == "taylor" else None
        scores = channel_scores(net, found, section.importance, seed=seed, loss_changes=changes)
        share = (1 - section.amount) ** (number / section.steps)
        gone = least_important(found.blocks, scores, widths, share=share, scope=section.scope, round_to=section.round_to)
        if len(gone):
            smaller = cut(net, found, gone)
            _prove_cut(silenced(net, found, gone), smaller, inputs)
            net = _step(smaller, training, inputs, steps, number=number, last=number == section.steps)
            found = find_dependencies(net, inputs)
    if not steps:
        raise GateRefused(
            f"prune: an amount of {section.amount:g} takes no channel out of {_listed(first.blocks)}, since what is kept is "
            f"rounded to multiples of {section.round_to}; raise prune.amount, or lower prune.round_to"
        )
    return Reduced(net, steps, found.whole, {layer: (width, found.widths[layer]) for layer, width in first.widths.items()})


def zero_weights(net: nn.Module, section: PruneConfig, training: Training, *, seed: int) -> Reduced:
    """Make single weights of `net` zero and train the others on, `steps` times. Raises UserError for settings without meaning.

    Raises GateRefused when a zero did not stay one.
    """
    _check_zeros(section, net)
    inputs, steps, whole = training.examples(), list[Step](), dict[str, str]()
    for number in range(1, section.steps + 1):
        if section.method == "two_of_four":
            masks, whole = two_of_four_masks(net)
        else:
            amount = 1 - (1 - section.amount) ** (number / section.steps)
            random = seed if section.importance == "random" else None
            masks = unstructured_masks(net, amount, scope=section.scope, seed=random)
        apply_masks(net, masks)
        net = _step(net, training, inputs, steps, number=number, last=number == section.steps, masks=masks)
        if broken := broken_zeros(net, masks):
            raise GateRefused(
                f"prune: {broken:,} weights that were zero are not after training; this is a bug, please report it"
            )
    known = {name.rpartition(".")[0] for name in masks}
    for path, module in net.named_modules():
        if path not in known and any(p.ndim > 1 for p in module.parameters(recurse=False)):
            whole.setdefault(path, f"a {type(module).__name__} is left as it is")
    return Reduced(net, steps, whole)


def _step(
    net: nn.Module,
    training: Training,
    inputs: Tensor,
    steps: list[Step],
    *,
    number: int,
    last: bool,
    masks: dict[str, Tensor] | None = None,
) -> nn.Module:
    """Measure what was cut, train it on, and note both in `steps`."""
    before = training.measured(net)
    trained = training.trained(net, step=number, last=last, masks=masks)
    after = training.measured(trained) if training.history else None
    steps.append(Step(size_of(net, inputs), before, after))
    return trained


def _prove_cut(expected: nn.Module, found: nn.Module, inputs: Tensor) -> None:
    """Raise GateRefused unless a network without channels answers as with these channels at zero."""
    difference = largest_difference(expected, found, inputs)
    if not difference <= _SAME:
        raise GateRefused(
            f"prune: without the channels the model answers otherwise than with zeros in them (difference {difference:.2g} of "
            "the largest answer), so forward() depends on widths in a way that was not seen; set prune.method=unstructured"
        )


def _check_room(found: Dependencies) -> None:
    if any(len(block.channels) > 1 for block in found.blocks):
        return
    reasons = "; ".join(f"{layer}: {why}" for layer, why in found.whole.items())
    raise GateRefused(f"prune: no layer has channels that may go: {reasons or 'the model has no layer that is known'}")


def _check_zeros(section: PruneConfig, net: nn.Module) -> None:
    """Refuse what has no meaning for single weights. l2 of a single weight orders as l1 does."""
    allowed = ("l1", "l2") if section.method == "two_of_four" else ("l1", "l2", "random")
    if section.importance not in allowed:
        raise UserError(
            f"prune.importance: {section.importance} is of channels, and prune.method={section.method} zeros single weights; "
            f"choose among {', '.join(allowed)}"
        )
    if section.method == "two_of_four" and (section.amount != 0.5 or section.steps != 1):
        raise UserError(
            f"prune.amount: {section.amount:g} in {section.steps} steps, but two_of_four zeros half of the weights at once; "
            "leave prune.amount=0.5 and prune.steps=1"
        )
    if not list(weights_of(net)):
        raise GateRefused("prune: the model has no linear or convolutional layer, whose weights could be zero")


def _listed(blocks: tuple[Block, ...]) -> str:
    """Name layers and their widths."""
    return ", ".join(f"{block.layers[0]} ({len(np.unique(block.channels))})" for block in blocks)
