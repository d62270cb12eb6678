"""Units that do nothing: dead, near zero, or saturated, seen while the validation rows go through the network anyway."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.undisturbed import first_rows, undisturbed
from pipeline.tracking import Tracker
from pipeline.training.batches import Batches
from pipeline.training.state import FitState

_NEAR = 1e-3  # to zero, or to a bound
_ROWS = 256
_BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
}
_CAN_DIE = (nn.ReLU, nn.ReLU6, nn.Threshold)
_OTHERS = (nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish)
_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layer:
    """An activation of a network. last: units are the last dimension, as behind a Linear; else the second one, channels."""

    name: str
    module: nn.Module
    last: bool
    can_die: bool
    bounds: tuple[float, float] | None


def activation_layers(net: nn.Module) -> list[Layer]:
    """Return the activation modules of a network, in the order in which they were defined.

    Functions such as `torch.relu(x)` in a user's `forward` are no modules and are not seen.
    """
    found, after_linear = [], True
    for name, module in net.named_modules():
        if isinstance(module, _WITH_WEIGHTS):
            after_linear = isinstance(module, nn.Linear)
        bounds = _BOUNDS.get(type(module))
        if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
            bounds = (float(module.min_val), float(module.max_val))
        if bounds or isinstance(module, (*_CAN_DIE, *_OTHERS)):
            found.append(Layer(name or type(module).__name__, module, after_linear, isinstance(module, _CAN_DIE), bounds))
    return found


class Activations(Monitor):
    """Records `dead/<layer>`, `near_zero/<layer>` and `saturated/<layer>` of the first 256 validation rows, in eval mode.

    dead: share of units of a ReLU (channels behind a convolution, features behind a Linear) that are zero for all these rows
    and places. near_zero: share of all numbers within 1e-3 of zero. saturated: share of numbers within 1e-3 of a bound of a
    sigmoid, tanh or the like. Activations that a user's `forward` calls as functions are not seen.

    The hooks are on the network from the last step of an epoch until the first batch of validation rows went through it.
    """

    name = "activations"

    def __init__(self, net: nn.Module, validation: Batches, tracker: Tracker) -> None:
        """Watch the activation modules of `net`."""
        self._validation, self._tracker = validation, tracker
        self._layers = activation_layers(net)
        self._handles: list[RemovableHandle] = []
        self._found: dict[str, list[Tensor]] = {}  # each scalar, by metric; a module may be called several times
        self._error: Exception | None = None

    def before_validation(self, state: FitState) -> None:
        """Hang on to the next forward pass."""
        self._found, self._error = {}, None
        self._handles = [layer.module.register_forward_hook(self._hook(layer)) for layer in self._layers]
        if self._layers:
            self._handles.append(state.net.register_forward_hook(lambda *_: self.close(), always_call=True))

    def look(self, state: FitState) -> None:
        """Record what validation showed; after the last epoch, of a pass of its own where there was none."""
        if not self._layers:
            return
        if not self._found and self._error is None:
            self.before_validation(state)
            try:
                with undisturbed(state):
                    state.net(first_rows(self._validation, _ROWS)[0])
            finally:
                self.close()
        if self._error is not None:
            raise self._error
        found, self._found = self._found, {}
        if found:
            means = torch.stack([torch.stack(values).mean() for values in found.values()]).tolist()
            self._tracker.metrics(dict(zip(found, means, strict=True)), step=state.epoch)

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, layer: Layer) -> Callable[[nn.Module, Any, Any], None]:
        @torch.no_grad()
        def measure(_: nn.Module, __: Any, output: Any) -> None:
            # This runs inside of the training's own validation, which must not end by it.
            try:
                for kind, value in _shares(layer, output[:_ROWS]).items():
                    self._found.setdefault(f"{kind}/{layer.name}", []).append(value)
            except Exception as error:
                self._error = error

        return measure


def _shares(layer: Layer, values: Tensor) -> dict[str, Tensor]:
    """Return the shares of one call as scalars; values: (rows, ...)."""
    shares = {"near_zero": (values.abs() < _NEAR).float().mean()}
    if layer.can_die and values.ndim > 1:
        unit = values.ndim - 1 if layer.last else 1
        others = [dimension for dimension in range(values.ndim) if dimension != unit]
        shares["dead"] = (values.amax(dim=others) <= 0).float().mean()
    if layer.bounds is not None:
        low, high = layer.bounds
        shares["saturated"] = ((values < low + _NEAR) | (values > high - _NEAR)).float().mean()
    return shares
