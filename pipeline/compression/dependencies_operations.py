"""What torch's layers, functions and methods do with channels, by name or type: what is not listed here is left alone.

Keeping: number by number, and zero stays zero, so that a channel which was zero may be missing. Shifting: number by number,
but zero becomes something, which a layer behind it would miss.
"""

import re
from typing import Any, Literal

from torch import Tensor, fx, nn

from pipeline.compression.dependencies_channels import Label, tuple_of

Operation = Literal["keep", "shift", "combine", "concatenate", "reshape", "move", "ask"]

KEEPING = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish),
    *(nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Identity),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
SHIFTING = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid)
_POOLS = {f"{kind}_pool{size}d" for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for size in (1, 2, 3)}
_BY_NAME: dict[Operation, set[str]] = {
    "keep": {"relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "tanh", "softsign"}
    | {"dropout", "dropout1d", "dropout2d", "dropout3d", "contiguous", "clone"}
    | _POOLS,
    "shift": {"sigmoid", "hardsigmoid", "softplus", "logsigmoid"},
    "combine": {"add", "sub", "subtract", "mul", "multiply", "truediv", "div", "divide"},
    "concatenate": {"cat", "concat", "concatenate"},
    "reshape": {"flatten", "reshape", "view"},
    "move": {"mean", "sum", "amax", "amin", "unsqueeze", "squeeze", "permute", "transpose", "getitem"},
    "ask": {"size", "dim", "getattr"},
}
_OPERATIONS = {name: operation for operation, names in _BY_NAME.items() for name in names}
_OF_TORCH = ("torch", "_operator", "builtins")
_INPLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}


def name_of(node: fx.Node) -> str:
    """Return the plain name of the function or method that a node calls: iadd, add_ and add are all `add`."""
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    name = target.rstrip("_")
    return _INPLACE.get(name, name)


def operation_of(node: fx.Node) -> Operation | None:
    """Return what the function or method of a node does with channels; None where that is not known."""
    target: Any = node.target
    if node.op == "call_function" and not str(getattr(target, "__module__", "")).startswith(_OF_TORCH):
        return None  # a function of the user, whatever its name
    return _OPERATIONS.get(name_of(node))


def width_is_written(node: fx.Node, axis: int) -> bool:
    """Return whether a reshape says how long `axis` becomes by a number, which would be wrong after pruning."""
    if name_of(node) == "flatten":
        return False
    sizes = node.args[1:] or tuple(node.kwargs.values())
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = tuple(sizes[0])
    if axis >= len(sizes):
        return True
    size = sizes[axis]
    return isinstance(size, int) and size != -1


def pools_over(name: str, given: Label) -> bool:
    """Return whether a layer or function of this name pools, and over the axis of the channels."""
    found = re.search(r"pool([123])d$", name, re.IGNORECASE)
    return found is not None and given.axis >= len(given.shape) - int(found[1])


def moved_axis(node: fx.Node, given: Label, value: Tensor) -> int | None:
    """Return where the axis of the channels is after a reduction, or after axes came, went or changed places.

    None where the channels themselves are changed, or where that is not known.
    """
    name = name_of(node)
    if name == "getitem":
        return _indexed(tuple_of(node.args[1]), given.axis)
    words = node.args[1:] or tuple(node.kwargs[word] for word in ("dim", "dims") if word in node.kwargs)
    if name not in {"permute", "transpose"}:
        words = words[:1]  # then come keepdim and the like
    dims = [dim for word in words for dim in tuple_of(word) if isinstance(dim, int)]
    if not dims or len(dims) < sum(len(tuple_of(word)) for word in words):
        return None
    return _replaced(name, dims, given, value.ndim)


def _replaced(name: str, dims: list[int], given: Label, after: int) -> int | None:
    axis, before = given.axis, len(given.shape)
    if name == "unsqueeze":
        return axis + (dims[0] % after <= axis)
    dims = [dim % before for dim in dims]
    if name == "permute":
        return dims.index(axis)
    if name == "transpose":
        return {dims[0]: dims[1], dims[1]: dims[0]}.get(axis, axis)
    if axis in dims:
        return None
    gone = [dim for dim in dims if name != "squeeze" or given.shape[dim] == 1]
    return axis - (sum(dim < axis for dim in gone) if after < before else 0)


def _indexed(index: tuple[Any, ...], axis: int) -> int | None:
    """Return where an axis is behind `[:, :, None]` and the like; None for all that takes some of the numbers."""
    places: list[int | None] = []  # of the given axes, None where a new one is put
    for one in index:
        if one is not None and not (isinstance(one, slice) and one == slice(None)):
            return None
        places.append(None if one is None else sum(place is not None for place in places))
    return places.index(axis) if axis in places else len(places) + axis - sum(place is not None for place in places)
