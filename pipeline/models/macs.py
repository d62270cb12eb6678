"""Multiplications of a network for one row, counted layer by layer while it runs.

rows = layer_rows(net.eval(), inputs)     # inputs: (rows, *shape)
total_of(rows).macs
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from torch import Tensor, nn

CONVENTION = (
    "MACs: multiplications with an addition, for one row in eval mode. Linear and convolutions count theirs without the bias, "
    "normalizations one for each number they change, activations, pooling and the like none. What a network does outside of "
    "these layers is not counted."
)
_NORMALIZATIONS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FREE = {"activation", "pooling", "dropout", "flatten", "padding", "linear", "sparse", "upsampling", "pixelshuffle", "fold"}


class LayerRow(msgspec.Struct):
    """One layer. output_shape: of a row; empty where it never ran. macs: None where it cannot be counted."""

    name: str
    kind: str
    output_shape: list[int]
    parameters: int
    trainable: int
    macs: int | None
    calls: int = 0


def layer_rows(net: nn.Module, inputs: Tensor) -> list[LayerRow]:
    """Return the layers that compute or hold parameters of their own, in the order in which they were defined.

    Runs `net` on `inputs` (rows, *shape) as it is: in which mode, with or without gradients, is for the caller to choose. A
    parameter that several layers share counts for the first one; a layer that is called several times has the sum of MACs.
    """
    counted: set[int] = set()
    rows, handles = [], []
    for name, module in net.named_modules():
        own = list(module.parameters(recurse=False))
        if list(module.children()) and not own:
            continue
        new = [parameter for parameter in own if id(parameter) not in counted]
        counted |= {id(parameter) for parameter in new}
        known = 0 if _is_free(module) or _counts(module) else None
        row = LayerRow(
            name or "(model)", type(module).__name__, [], _size(new), _size(p for p in new if p.requires_grad), known
        )
        rows.append(row)
        handles.append(module.register_forward_hook(_counter(row)))
    try:
        net(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def total_of(rows: Sequence[LayerRow]) -> LayerRow:
    """Return the sums; MACs are those that could be counted."""
    parameters, trainable = sum(row.parameters for row in rows), sum(row.trainable for row in rows)
    return LayerRow("total", "", [], parameters, trainable, sum(row.macs or 0 for row in rows), calls=1)


def _counter(row: LayerRow) -> Any:
    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found = next(
            (part for part in (output if isinstance(output, tuple | list) else [output]) if isinstance(part, Tensor)), None
        )
        row.calls += 1
        if found is None:
            row.macs = None
            return
        row.output_shape = list(found.shape[1:])
        if row.macs is not None:
            row.macs += _macs(module, inputs, found)

    return count


def _macs(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> int:
    """Return the MACs of one call for one row of `output` (rows, ...)."""
    numbers: int = math.prod(output.shape[1:])
    if isinstance(module, nn.Linear):
        return numbers * module.in_features
    if isinstance(module, _CONVOLUTIONS):
        return numbers * math.prod(module.kernel_size) * module.in_channels // module.groups
    if isinstance(module, _TRANSPOSED):
        given: int = math.prod(inputs[0].shape[1:])
        return given * math.prod(module.kernel_size) * module.out_channels // module.groups
    return numbers if isinstance(module, _NORMALIZATIONS) else 0


def _counts(module: nn.Module) -> bool:
    """Return whether a module's MACs are known; a subclass may compute something else."""
    return type(module) in {nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED, *_NORMALIZATIONS}


def _is_free(module: nn.Module) -> bool:
    """Return whether a module of torch multiplies no weights with inputs."""
    package, _, place = type(module).__module__.rpartition(".")
    of_torch = package == "torch.nn.modules" and place in _FREE
    weights = isinstance(module, nn.MultiheadAttention | nn.Linear | nn.Bilinear)
    return of_torch and not weights


def _size(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)
