"""What becomes of a network in steps: a cut or zeros, its proof, and a training after it."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from pipeline.compression.cutting import cut, largest_difference, silenced
from pipeline.compression.dependencies import Block, Dependencies, find_dependencies
from pipeline.compression.importance import channel_scores, least_important, unit_of
from pipeline.compression.pruning_training import Training
from pipeline.compression.sparsity import apply_masks, broken_zeros, two_of_four_masks, unstructured_masks, weights_of
from pipeline.config.compression_sections import PruneConfig
from pipeline.errors import GateRefused
from pipeline.models.macs import layer_rows, total_of

_SAME = 1e-4  # relative: sums of fewer numbers are rounded in another order


class Size(msgspec.Struct, frozen=True):
    """What a network takes. stored_bytes: of its parameters and buffers. macs: of one row, in layers that can be counted."""

    parameters: int
    stored_bytes: int
    macs: int
    uncounted: list[str] = []


class Step(msgspec.Struct, frozen=True):
    """One cut: what was measured on validation rows right after it, and after training on; None without training.

    kept: the network that went on from here, which is the one with the smaller loss on validation rows.
    """

    number: int
    size: Size
    cut: dict[str, float]
    trained: dict[str, float] | None
    kept: Literal["cut", "trained"]

    @property
    def validation(self) -> dict[str, float]:
        """Loss and metrics of the network that was kept."""
        return self.trained if self.kept == "trained" and self.trained is not None else self.cut


@dataclass(frozen=True)
class Reduced:
    """A smaller network, in eval mode, on the CPU.

    whole: layer → why it was left as it is. widths: layer → its outputs. share: of the channels that may go, those that went;
    None where none were to go.
    """

    net: nn.Module
    steps: list[Step]
    whole: dict[str, str]
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)  # before, after
    share: float | None = None


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
    first = found = find_dependencies(net, inputs).sparing(section.whole)
    _check_room(found)
    widths, taken = {block.layers: len(block.channels) for block in found.blocks}, 0
    for number in range(1, section.steps + 1):
        training.begin(f"cut {number} of {section.steps}")
        changes = training.changes_of_loss(net) if section.importance == "taylor" else None
        scores = channel_scores(net, found, section.importance, seed=seed, loss_changes=changes)
        share = (1 - section.amount) ** (number / section.steps)
        gone = least_important(found.blocks, scores, widths, share=share, scope=section.scope, round_to=section.round_to)
        if len(gone):
            smaller = cut(net, found, gone)
            _prove_cut(silenced(net, found, gone), smaller, inputs)
            net = _step(smaller, training, inputs, steps, number=number, last=number == section.steps)
            found, taken = find_dependencies(net, inputs).sparing(section.whole), taken + len(gone)
    if not steps:
        raise GateRefused(
            f"prune: an amount of {section.amount:g} takes no channel out of {_listed(first.blocks, section.round_to)}, since "
            f"widths are rounded; raise prune.amount{', or set prune.round_to=1' if section.round_to > 1 else ''}"
        )
    training.tell_last()
    after = {layer: (width, found.widths[layer]) for layer, width in first.widths.items()}
    return Reduced(net, steps, found.whole, after, taken / sum(widths.values()))


def zero_weights(net: nn.Module, section: PruneConfig, training: Training, *, seed: int) -> Reduced:
    """Make single weights of `net` zero and train the others on, `steps` times.

    Raises GateRefused when there are none that could be, and when a zero did not stay one.
    """
    if not list(weights_of(net)):
        raise GateRefused("prune: the model has no linear or convolutional layer, whose weights could be zero")
    inputs, steps, whole = training.examples(), list[Step](), dict[str, str]()
    for number in range(1, section.steps + 1):
        training.begin(f"zeros {number} of {section.steps}")
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
    """Measure what was cut, train it on, note both in `steps`, and return the better one."""
    net = training.renewed(net)
    before = training.measured(net)
    trained = training.trained(net, step=number, last=last, masks=masks)
    after = training.measured(trained) if training.history else None
    kept: Literal["cut", "trained"] = "cut" if after is None or before["loss"] < after["loss"] else "trained"
    steps.append(Step(number, size_of(net, inputs), before, after, kept))
    return net.eval() if kept == "cut" else trained


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


def _listed(blocks: tuple[Block, ...], round_to: int) -> str:
    """Name layers, their widths, and what these are rounded to."""
    widths = {block.layers[0]: len(np.unique(block.channels)) for block in blocks}
    return ", ".join(f"{layer} ({width}, in multiples of {unit_of(width, round_to)})" for layer, width in widths.items())
