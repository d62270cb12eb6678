"""How much each channel matters, and which ones go.

scores = channel_scores(net, found, "l2", seed=0)
gone = least_important(found.blocks, scores, widths, share=0.5, scope="global", round_to=16)
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.compression.dependencies import Block, Dependencies
from pipeline.compression.dependencies_channels import Numbers, Slot
from pipeline.config.compression_sections import Importance
from pipeline.errors import UserError
from pipeline.training.batches import Batches
from pipeline.training.objective import Objective

Scores = Mapping[int, float]  # channel → how much it matters; 1 is the mean of a layer
_BATCHES = 16  # that gradients are taken from


def channel_scores(
    net: nn.Module, found: Dependencies, kind: Importance, *, seed: int, loss_changes: Mapping[str, Tensor] | None = None
) -> dict[int, float]:
    """Return a score for each channel that may go, the mean over the layers that share it.

    Each layer's scores are divided by their mean, since layers differ in the size of their weights. l1, l2: norm of the weights
    that compute it (Li et al. 2017). bn_scale: size of its scale in batch normalization (Liu et al. 2017); l2 where it has
    none. taylor: sum of |weight * gradient| (Molchanov et al. 2019), from `loss_changes`. random: drawn from `seed`. Raises
    UserError for bn_scale in a network without batch normalization.
    """
    channels = np.unique(np.concatenate([block.channels for block in found.blocks]))
    if kind == "random":
        return dict(zip(channels.tolist(), np.random.default_rng(seed).random(len(channels)).tolist(), strict=True))
    if kind == "taylor":
        assert loss_changes is not None
        slots = [slot for slot in found.slots if f"{slot.layer}.{slot.tensor}" in loss_changes and slot.role != "reads"]
        sizes = [_sums(loss_changes[f"{slot.layer}.{slot.tensor}"], slot.axis) for slot in slots]
        return _joined(slots, sizes, channels)
    makers = [slot for slot in found.slots if slot.role == "makes"]
    scores = _joined(makers, [_norms(_weights(net, slot), slot.axis, 1 if kind == "l1" else 2) for slot in makers], channels)
    if kind == "bn_scale":
        slots = [slot for slot in found.slots if slot.role == "normalizes" and slot.tensor == "weight"]
        scales = _joined(slots, [_sums(_weights(net, slot).abs(), 0) for slot in slots], channels)
        if not scales:
            raise UserError(
                "prune.importance: bn_scale needs channels with batch normalization, and this model has none that could go; "
                "set prune.importance=l2"
            )
        scores |= scales
    return scores


def changes_of_loss(net: nn.Module, batches: Batches, objective: Objective, *, seed: int) -> dict[str, Tensor]:
    """Return |parameter * gradient of the loss| for each number of each parameter, by name, the mean over train batches.

    How much the loss would change, to the first order, if the number were zero. `net` is where the batches are, in eval mode:
    statistics of a batch would make the gradient of what they normalize vanish.
    """
    net.eval()
    totals = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for inputs, targets in islice(batches.shuffled(seed=seed, epoch=1), _BATCHES):
        net.zero_grad()
        objective.loss(net(inputs), targets).backward()
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                totals[name] += (parameter.detach() * parameter.grad).abs()
    net.zero_grad()
    return {name: total.cpu() / min(_BATCHES, len(batches)) for name, total in totals.items()}


def least_important(
    blocks: Sequence[Block],
    scores: Scores,
    widths: Mapping[tuple[str, ...], int],
    *,
    share: float,
    scope: Literal["global", "layer"],
    round_to: int,
) -> Numbers:
    """Return the channels that go, so that about `share` of `widths` is left, rounded for each block.

    widths: channels of each block, by its layers, before anything was pruned: what `share` is of, and what decides on rounding.
    """
    every = np.concatenate([block.channels for block in blocks])
    order = every[np.argsort([-scores[number] for number in every.tolist()], kind="stable")]
    best = set(order[: round(share * sum(widths[block.layers] for block in blocks))].tolist())
    gone = []
    for block in blocks:
        width = widths[block.layers]
        wanted = share * width if scope == "layer" else sum(number in best for number in block.channels.tolist())
        kept = rounded(wanted, width, round_to)
        ranked = np.argsort([-scores[number] for number in block.channels.tolist()], kind="stable")
        gone.append(block.channels[ranked[kept:]])
    return np.concatenate(gone)


def rounded(wanted: float, width: int, round_to: int) -> int:
    """Return the multiple of `round_to` next to `wanted`, at least one of it and at most `width`.

    Odd widths cost more time than they save: in ONNX Runtime 33 channels took 2.2 times as long as 32. A layer narrower than
    twice `round_to` is rounded to half of it, or to half of that.
    """
    unit = unit_of(width, round_to)
    return min(width, unit * max(1, int(wanted / unit + 0.5)))


def unit_of(width: int, round_to: int) -> int:
    """Return what kept channels of a layer are a multiple of: `round_to`, or in a narrow layer a part of it."""
    unit = round_to
    while unit > 1 and width < 2 * unit:
        unit //= 2
    return unit


def _weights(net: nn.Module, slot: Slot) -> Tensor:
    return net.get_parameter(f"{slot.layer}.{slot.tensor}").detach()


def _norms(weights: Tensor, axis: int, order: int) -> NDArray[np.float64]:
    rows = weights.movedim(axis, 0).flatten(1).double()
    return np.asarray(torch.linalg.vector_norm(rows, ord=order, dim=1))


def _sums(values: Tensor, axis: int) -> NDArray[np.float64]:
    return np.asarray(values.double().movedim(axis, 0).reshape(values.shape[axis], -1).sum(1))


def _joined(slots: Sequence[Slot], sizes: Sequence[NDArray[np.float64]], channels: Numbers) -> dict[int, float]:
    """Return the mean over slots of each channel's share of its layer. sizes: of each slot's positions, (positions,)."""
    by_layer: dict[str, dict[int, float]] = {}
    for slot, size in zip(slots, sizes, strict=True):
        layer = by_layer.setdefault(slot.layer, {})
        for number, value in zip(slot.numbers.tolist(), size.tolist(), strict=True):
            layer[number] = layer.get(number, 0.0) + value
    found: dict[int, list[float]] = {}
    for layer in by_layer.values():
        mean = sum(layer.values()) / len(layer) or 1.0
        for number, value in layer.items():
            found.setdefault(number, []).append(value / mean)
    return {number: sum(found[number]) / len(found[number]) for number in channels.tolist() if number in found}
