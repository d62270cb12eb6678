"""What each layer got and gave, to name the layer where two forward passes part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.sanity.subject import answer

_SAME = 1e-5  # relative


@dataclass(frozen=True)
class Call:
    """One call of a layer. got, gave: its tensors, by value; layers inside it were called before it ended."""

    layer: str
    got: tuple[Tensor, ...]
    gave: Tensor


@torch.no_grad()
def calls(net: nn.Module, inputs: Tensor, *, seed: int = 0) -> list[Call]:
    """Return the calls of one forward pass, inner ones first; hooks are removed."""
    found: list[Call] = []

    def watch(layer: str, module: nn.Module) -> Any:
        got: list[tuple[Tensor, ...]] = []

        def before(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            got.append(tuple(value.detach().clone() for value in arguments if isinstance(value, Tensor)))

        def after(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            arguments = got.pop()
            if isinstance(first, Tensor):
                found.append(Call(layer, arguments, first.detach().clone()))

        return module.register_forward_pre_hook(before), module.register_forward_hook(after)

    handles = [
        handle
        for name, module in net.named_modules()
        for handle in watch(f"{name!r} ({type(module).__name__})" if name else f"forward() of {type(module).__name__}", module)
    ]
    try:
        answer(net, inputs, seed=seed)
    finally:
        for handle in handles:
            handle.remove()
    return found


def parting(one: Sequence[Call], other: Sequence[Call], *, rows: slice = slice(None)) -> str:
    """Return the innermost layer that got the same in `rows` of both passes and gave something else."""
    for first, second in zip(one, other, strict=False):
        if first.layer != second.layer:
            break
        pairs = zip(first.got, second.got, strict=False)
        if all(_same(_some(a, rows), _some(b, rows)) for a, b in pairs) and not _same(
            _some(first.gave, rows), _some(second.gave, rows)
        ):
            return first.layer
    return one[-1].layer if one else "forward()"


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    one, other = one.float(), other.float()
    return not one.numel() or bool(torch.allclose(one, other, rtol=_SAME, atol=_SAME * float(one.abs().max())))


def _some(value: Tensor, rows: slice) -> Tensor:
    return value[rows] if value.ndim else value
