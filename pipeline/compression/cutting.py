"""Taking channels out of every tensor that has them.

smaller = cut(net, found, gone)     # a copy, which computes what `silenced(net, found, gone)` computes
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.compression.dependencies import Dependencies
from pipeline.compression.dependencies_channels import Numbers, Slot
from pipeline.models.resized import count_widths


def cut(net: nn.Module, found: Dependencies, gone: Numbers) -> nn.Module:
    """Return a copy of `net` without the channels `gone`, (channels,)."""
    smaller = copy.deepcopy(net)
    touched = {}
    for slot in found.slots:
        stays = np.flatnonzero(~np.isin(slot.numbers, gone))
        if len(stays) == len(slot.numbers):
            continue
        module, old = _tensor(smaller, slot)
        new = old.detach().index_select(slot.axis, torch.from_numpy(stays).to(old.device)).contiguous()
        touched[slot.layer] = module
        if isinstance(old, nn.Parameter):
            setattr(module, slot.tensor, nn.Parameter(new, requires_grad=old.requires_grad))
        else:
            setattr(module, slot.tensor, new)
    for module in touched.values():
        count_widths(module)
    return smaller


def silenced(net: nn.Module, found: Dependencies, gone: Numbers) -> nn.Module:
    """Return a copy of `net` of the same size whose channels `gone` are zero wherever a layer reads them."""
    quiet = copy.deepcopy(net)
    with torch.no_grad():
        for slot in found.slots:
            places = np.flatnonzero(np.isin(slot.numbers, gone))
            if slot.role == "reads" or slot.tensor == "running_var" or not len(places):
                continue  # the variance divides
            _, tensor = _tensor(quiet, slot)
            tensor.index_fill_(slot.axis, torch.from_numpy(places).to(tensor.device), 0.0)
    return quiet


def largest_difference(one: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    """Return how far the answers of two networks are apart, as a share of the largest answer, in eval mode.

    Infinite where the second one fails or answers in another shape.
    """
    with torch.no_grad():
        expected = one.eval()(inputs)
        try:
            found = other.eval()(inputs)
        except Exception:  # a user's forward() that counted on a width
            return math.inf
    if expected.shape != found.shape:
        return math.inf
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))


def _tensor(net: nn.Module, slot: Slot) -> tuple[Any, Tensor]:
    module = net.get_submodule(slot.layer)
    tensor: Tensor = getattr(module, slot.tensor)
    return module, tensor
