"""Trainable parameters as views of one buffer, and their gradients as views of another.

A small network has few numbers and many tensors, and what a step costs beside the layers is counted in tensors: clearing
gradients, their norm, clipping, the optimizer and a moving average each become one call over one tensor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from pipeline.errors import UserError

_CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True)
class Group:
    """Parameters that the optimizer treats alike. weights: (numbers,), with its gradient in `weights.grad`."""

    name: str
    weights: nn.Parameter
    decays: bool


class FlatParameters:
    """The trainable parameters of a network, which keeps using them as it did.

    `parameters` maps names to the network's own parameters; `groups` holds weight matrices, which decay, and norms and biases,
    which do not: decay of a normalization's scale or of a bias only shrinks the function's range.
    """

    def __init__(self, net: nn.Module) -> None:
        """Move the parameters of `net` into the buffers; raise UserError where that is impossible."""
        self.parameters = {name: p for name, p in net.named_parameters() if p.requires_grad and (_lazy(p) or p.numel())}
        _check(self.parameters)
        by_decay: dict[str, list[nn.Parameter]] = {"weights": [], "norms and biases": []}
        for parameter in self.parameters.values():
            by_decay["weights" if parameter.ndim > 1 else "norms and biases"].append(parameter)
        count = sum(p.numel() for p in self.parameters.values())
        like = next(iter(self.parameters.values()))
        self.weights = torch.empty(count, dtype=like.dtype, device=like.device)
        self.gradients = torch.zeros_like(self.weights)
        self.groups: list[Group] = []
        start = 0
        for name, members in by_decay.items():
            stop = start + sum(p.numel() for p in members)
            if members:
                self._move(members, start)
                flat = nn.Parameter(self.weights[start:stop])
                flat.grad = self.gradients[start:stop]
                self.groups.append(Group(name, flat, decays=name == "weights"))
            start = stop

    def _move(self, members: list[nn.Parameter], start: int) -> None:
        for parameter in members:
            stop = start + parameter.numel()
            values = _view(self.weights[start:stop], parameter)
            values.copy_(parameter.detach())
            gradient = _view(self.gradients[start:stop], parameter)
            parameter.data, parameter.grad = values, gradient
            start = stop

    def check_attached(self) -> None:
        """Raise UserError when the network has given a parameter other memory: the optimizer would change the old one."""
        low, high = self.weights.data_ptr(), self.weights.data_ptr() + self.weights.numel() * self.weights.element_size()
        for name, parameter in self.parameters.items():
            if parameter.numel() and not low <= parameter.data_ptr() < high:
                raise UserError(replaced(name))

    def gradient_norm(self) -> Tensor:
        """Return the global L2 norm of the gradient, a scalar."""
        norm: Tensor = torch.linalg.vector_norm(self.gradients)
        return norm

    def clip_norm(self, norm: Tensor, largest: float) -> None:
        """Scale the gradient, whose global norm is `norm`, down to `largest` where it is above (Pascanu et al. 2013)."""
        self.gradients.mul_((largest / (norm + _CLIP_EPSILON)).clamp(max=1.0))

    def clip_value(self, largest: float) -> None:
        """Cut every number of the gradient to `largest`, either sign."""
        self.gradients.clamp_(-largest, largest)


def replaced(name: str) -> str:
    """Say that a network replaced the memory of a parameter."""
    return (
        f"model: forward() replaces the memory of {name}, so that training would not reach it; "
        f"change it in place, such as with torch.no_grad(): {name}.clamp_(-1, 1), instead of {name}.data = …"
    )


def _check(parameters: dict[str, nn.Parameter]) -> None:
    if not parameters:
        raise UserError("model: it has no parameters to train")
    for name, parameter in parameters.items():
        if _lazy(parameter):
            raise UserError(f"model: {name} has no size before the first batch (a lazy layer); give its sizes in the model")
    kinds = {(p.dtype, p.device): name for name, p in parameters.items()}
    if len(kinds) > 1:
        seen = "; ".join(f"{name} is {dtype} on {device}" for (dtype, device), name in kinds.items())
        raise UserError(f"model: its parameters must have one dtype and one device: {seen}")


def _lazy(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, UninitializedParameter)


def _view(flat: Tensor, like: Tensor) -> Tensor:
    """Return a slice in the shape and the memory order of `like`.

    The very strides matter: of a tensor with one channel they alone tell which order is meant, and kernels go by them.
    """
    dense = like.is_contiguous() or (like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last))
    return flat.as_strided(like.shape, like.stride()) if dense else flat.view(like.shape)
