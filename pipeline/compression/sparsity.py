"""Zeros among the weights: which ones, and how they stay zero while the others are trained.

masks = magnitude_masks(net, 0.8, scope="global")      # or two_of_four_masks(net)
apply_masks(net, masks)
retrain(…, hooks=[KeepZeros(masks)])
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pipeline.training.hooks import Hook
from pipeline.training.state import FitState

Masks = Mapping[str, Tensor]  # parameter → its shape of 0 and 1
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weights_of(net: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name of each weight that may get zeros, and its layer: of linear and convolutional layers."""
    for path, module in net.named_modules():
        if isinstance(module, _LAYERS) and "weight" in dict(module.named_parameters(recurse=False)):
            yield f"{path}.weight".lstrip("."), module


def unstructured_masks(
    net: nn.Module, amount: float, *, scope: Literal["global", "layer"], seed: int | None = None
) -> dict[str, Tensor]:
    """Return masks with zeros at the smallest weights; with `seed`, at random ones, the same and more for a larger amount.

    amount: share of the weights that becomes zero, of all together or of each layer. `net` stays as it is.
    """
    layers = dict(weights_of(copy.deepcopy(net)))  # torch's pruning replaces parameters
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    sizes = {
        name: layer.weight.detach().abs() if generator is None else torch.rand(layer.weight.shape, generator=generator)
        for name, layer in layers.items()
    }
    slots = [(layer, "weight") for layer in layers.values()]
    scores = dict(zip(slots, sizes.values(), strict=True))
    if scope == "global":
        prune.global_unstructured(slots, prune.L1Unstructured, importance_scores=scores, amount=amount)
    else:
        for slot in slots:
            prune.l1_unstructured(*slot, amount=amount, importance_scores=scores[slot])
    return {name: layer.weight_mask for name, layer in layers.items()}


def two_of_four_masks(net: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return masks that keep the two largest of every four consecutive inputs, and why a weight has none.

    Inputs of a convolution are its channels, at each place of the kernel. (The pattern: Mishra et al. 2021, "Accelerating
    Sparse Deep Neural Networks".) A last group of fewer than four stays whole.
    """
    masks, whole = {}, {}
    for name, layer in weights_of(net):
        weights = layer.weight.detach().movedim(1, -1)  # (outputs, …, inputs)
        groups = weights.shape[-1] // 4
        if not groups:
            whole[name.removesuffix(".weight")] = f"it has {weights.shape[-1]} inputs, fewer than four"
            continue
        mask = torch.ones_like(weights)
        fours = weights[..., : 4 * groups].unflatten(-1, (groups, 4)).abs()
        smallest = fours.argsort(dim=-1, stable=True)[..., :2]
        mask[..., : 4 * groups] = torch.ones_like(fours).scatter(-1, smallest, 0.0).flatten(-2)
        masks[name] = mask.movedim(-1, 1).contiguous()
    return masks, whole


def apply_masks(net: nn.Module, masks: Masks) -> None:
    """Make weights zero where their mask is."""
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).mul_(mask)


def broken_zeros(net: nn.Module, masks: Masks) -> int:
    """Return how many weights are not zero where their mask is."""
    return sum(int((net.get_parameter(name)[mask == 0] != 0).sum()) for name, mask in masks.items())


def sparsity_of(net: nn.Module) -> float:
    """Return the share of zeros among the weights of linear and convolutional layers."""
    weights = [net.get_parameter(name).detach() for name, _ in weights_of(net)]
    return sum(int((weight == 0).sum()) for weight in weights) / max(1, sum(weight.numel() for weight in weights))


class KeepZeros(Hook):
    """Keeps masked weights at zero by masking their gradients, which all optimizers of ours answer with no change.

    So momentum and the moving average of the weights stay zero there, too, which masking after the step would not give. One
    multiplication over the flat buffer a step.
    """

    def __init__(self, masks: Masks) -> None:
        """Keep what is zero in `masks`; the weights must have been masked before the fit began."""
        self._masks, self._flat = masks, torch.empty(0)

    def on_fit_start(self, state: FitState) -> None:
        """Lay the masks out as the parameters are: each is a view of one buffer, perhaps with channels last."""
        flat = state.flat
        self._flat = torch.ones_like(flat.weights)
        for name, mask in self._masks.items():
            if name in flat.parameters:
                like = flat.parameters[name]
                self._flat.as_strided(like.shape, like.stride(), like.storage_offset()).copy_(mask)

    def on_gradients(self, state: FitState) -> None:
        """Mask the gradients of a step."""
        state.flat.gradients.mul_(self._flat)
