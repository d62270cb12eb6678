"""Where an artifact leaves the model: the first layer whose values are nowhere in the artifact.

A graph has no layers any more: names are gone, some are fused. What stays are values. So each layer's output for some rows is
looked for among all that the artifact computes for them. A layer that is not there was fused if one that depends on it is
there, and has diverged otherwise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import Node

from pipeline.config.choice_sections import Format
from pipeline.exporting import torch_export, torchscript
from pipeline.exporting.formats import with_every_value
from serving import runtimes
from serving.schema import Array

FINISH = "finish"  # Deployable.finish: softmax, sigmoid, or the target's unit
# Layers are alike when |a - b| <= _OF_LARGEST * max|b| + _RTOL * |b|: tighter than parity, since later layers may attenuate.
_OF_LARGEST, _RTOL = 1e-5, 1e-4


def first_divergence(deployable: nn.Module, payload: bytes, form: Format, rows: Array) -> str | None:
    """Return the name of the first layer that an artifact computes otherwise; None when the answers are alike.

    rows: (batch, *shape) raw. The name is the module's in the Deployable, such as `normalize` or `net.layers.1`, and `finish`
    for what comes after the network.
    """
    layers = _layers(deployable, rows)
    *values, answer = _values(payload, form, rows)
    there = [layer for layer in layers[:-1] if any(_alike(value, layer.output) for value in [*values, answer])]
    there += [layer for layer in layers[-1:] if _alike(answer, layer.output)]
    right = {node for layer in there for node in _before(layer.node)}
    return next((layer.name for layer in layers if layer not in there and layer.node not in right), None)


@dataclass(frozen=True, eq=False)
class _Layer:
    """What a module returned. output: (batch, …). made: the very tensor. node: of autograd's graph, which knows its past."""

    name: str
    output: NDArray[np.float32]
    made: Tensor
    node: Node | None


def _layers(deployable: nn.Module, rows: Array) -> list[_Layer]:
    """Run the model, and return each module that computed something, in the order that they were done, and the answer."""
    found: list[_Layer] = []

    def keep(name: str, returned: Any) -> None:
        made = returned[0] if isinstance(returned, tuple | list) and returned else returned
        if not isinstance(made, Tensor) or made.dtype != torch.float32:
            return
        output = made.detach().clone().numpy()  # a layer after it may write into it
        # Dropout in eval mode, and containers, hand on what another one made.
        if not any(layer.made is made and np.array_equal(layer.output, output, equal_nan=True) for layer in found):
            found.append(_Layer(name, output, made, made.grad_fn))

    hooks = [
        module.register_forward_hook(lambda _module, _given, returned, name=name: keep(name, returned))
        for name, module in deployable.named_modules()
        if name
    ]
    try:
        with torch.enable_grad():  # so that autograd notes what was made of what
            answer = deployable(torch.from_numpy(rows).requires_grad_().clone())
    finally:
        for hook in hooks:
            hook.remove()
    keep(FINISH, answer)
    return [layer for layer in found[:-1] if not _is_dead(layer.output)] + found[-1:]


def _is_dead(output: NDArray[np.float32]) -> bool:
    """Return whether values are all the same, such as of a layer that died: these are found anywhere, and tell nothing."""
    return bool(output.size > 1 and (output == output.flat[0]).all())


def _before(node: Node | None) -> set[Node]:
    """Return all that a node of autograd's graph depends on."""
    found: set[Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one is not None and one not in found:
            found.add(one)
            left += [before for before, _ in one.next_functions]
    return found - {node} if node is not None else found


def _values(payload: bytes, form: Format, rows: Array) -> list[Array]:
    """Return all that an artifact computes for rows; the answer is the last."""
    match form:
        case "onnx":
            found = runtimes.every_output(with_every_value(payload))(rows)
        case "torchscript":
            found = torchscript.values_of(payload, rows)
        case "torch_export":
            found = torch_export.values_of(payload, rows)
    return [value for value in found if value.dtype == np.float32]


def _alike(value: Array, expected: Array) -> bool:
    """Return whether a value is a layer's output, perhaps flattened, but for what another order of sums gives."""
    if value.ndim == 0 or value.size != expected.size or len(value) != len(expected):
        return False
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max(initial=0.0)
    return np.allclose(value.reshape(expected.shape), expected, rtol=_RTOL, atol=_OF_LARGEST * float(largest), equal_nan=True)
