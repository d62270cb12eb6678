"""A network whose layers have other widths than its class gives them, as pruning leaves it.

shapes = {"layers.0.weight": (48, 30), "layers.0.bias": (48,), "layers.2.weight": (32, 48)}
net = resized(Mlp((30,), 2, hidden=[64, 32]), shapes)
"""

from collections.abc import Mapping

import torch
from torch import nn

from pipeline.errors import UserError

_Shapes = Mapping[str, tuple[int, ...]]


def resized(net: nn.Module, shapes: _Shapes) -> nn.Module:
    """Give parameters and buffers of `net` new shapes, in place, with empty values; return `net`.

    shapes: by name, as in `state_dict`. Linear, convolutional, normalizing and embedding layers count their widths anew. Raises
    UserError for a name that the network has not.
    """
    known = set(net.state_dict())
    for name, shape in shapes.items():
        if name not in known:
            raise UserError(
                f"model: the checkpoint has a {name} of shape {shape}, which this model lacks; train and prune again"
            )
        path, _, own = name.rpartition(".")
        module = net.get_submodule(path)
        old = getattr(module, own)
        new = torch.empty(shape, dtype=old.dtype)
        if isinstance(old, nn.Parameter):
            setattr(module, own, nn.Parameter(new, requires_grad=old.requires_grad))
        else:
            setattr(module, own, new)
    for path in {name.rpartition(".")[0] for name in shapes}:
        count_widths(net.get_submodule(path))
    return net


def count_widths(module: nn.Module) -> None:
    """Set what a layer says of its widths by the shapes of its parameters."""
    match module:
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            module.out_channels = module.weight.shape[0]
            if module.groups > 1 and module.groups == module.in_channels:  # depthwise: one channel for each group
                module.groups = module.in_channels = module.out_channels
            else:
                module.in_channels = module.weight.shape[1] * module.groups
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            numbers = module.weight if module.affine else module.running_mean
            if numbers is not None:  # without both it counts nothing
                module.num_features = len(numbers)
        case nn.LayerNorm():
            module.normalized_shape = tuple(module.weight.shape)
        case nn.Embedding():
            module.num_embeddings, module.embedding_dim = module.weight.shape


def changed_shapes(before: nn.Module, after: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape in `after` of each parameter and buffer that has another one in `before`."""
    old, new = before.state_dict(), after.state_dict()
    return {name: tuple(value.shape) for name, value in new.items() if value.shape != old[name].shape}
