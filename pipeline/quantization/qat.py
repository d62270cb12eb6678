"""Quantization-aware training: the network learns with the rounding that its integers will have (Jacob et al. 2018).

Weights of layers and what reaches them are rounded in each forward pass, and gradients pass straight through the rounding
(Bengio et al. 2013), inside the range. No parameter and no buffer is added, so checkpoints load into the plain network.
"""

import io
import math
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from pipeline.artifacts import Model, Prepared
from pipeline.config import Config
from pipeline.errors import Interrupted
from pipeline.models.registry import Architecture
from pipeline.tracking import Tracker
from pipeline.training.assembly import assemble
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.fitting import fit_assembled
from pipeline.training.hooks import Hook
from pipeline.training.interrupt import Interrupt
from pipeline.training.report import Report
from pipeline.training.retraining import retimed, varied
from pipeline.training.setup import early_stopping_of
from pipeline.training.state import FitState
from pipeline.training.weights import load

_SHARE = 0.1  # of a batch in the moving range of activations
_SMALLEST = 1e-8  # a scale for what is all zeros


def train_quantized(
    config: Config, prepared: Prepared, model: Model, *, out: Path, reduce_range: bool, tracker: Tracker, interrupt: Interrupt
) -> bytes:
    """Train a model on with rounded weights and activations; return the checkpoint of the best epoch, which is in `out`.

    What was zero stays zero: pruned weights. The losses of validation rows are those of the rounded network, which `best.pt`
    alone does not give: what it is worth is measured when it was quantized. Raises Interrupted after a signal, and what
    `assemble` and `fit_assembled` raise.
    """
    source = model.source()
    payload = model.read(Model.BEST)
    net = rounded(load(payload, source=source), reduce_range=reduce_range)
    section = config.quantize
    # Compiled, ranges that move would be constants. An average of weights was never rounded as a whole.
    plain = {"compile": False, "precision": "fp32", "ema_decay": None}
    train = retimed(config.train.model_copy(update=plain), epochs=section.qat_epochs, lr=section.qat_lr)
    changed = varied(config, train=train)
    parts = assemble(changed, prepared, source=source, given=(architecture_of(payload), net))
    stopping = early_stopping_of(train.early_stopping)
    keep = Checkpoints(out, parts.architecture, stopping, every_s=math.inf, interrupt=interrupt)
    report = Report(out / Model.HISTORY, tracker, batches=len(parts.rows.train))
    try:
        fit_assembled(changed, parts, [KeepZeros(net), stopping, report, keep])
    except Interrupted as error:
        raise Interrupted(f"{tracker.stage}: stopped by {interrupt.signal}; give the command again to start it anew") from error
    (out / Model.LAST).unlink()  # nothing goes on from it
    return (out / Model.BEST).read_bytes()


def architecture_of(checkpoint: bytes) -> Architecture:
    """Return what a verified checkpoint says of its network."""
    content = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    return msgspec.convert(content["architecture"], Architecture)


def rounded(net: nn.Module, *, reduce_range: bool) -> nn.Module:
    """Make every convolution and linear layer of `net` compute as if quantized, in place; return `net`.

    reduce_range: weights keep to 7 bits. Layers of a user's own class are left as they are.
    """
    for module in net.modules():
        kind = _ROUNDED.get(type(module))
        if kind is not None:
            module.__class__ = kind
            vars(module)["quantization"] = _Quantization(63 if reduce_range else 127)  # no submodule, no buffer
    return net


class _Quantization:
    """What one layer rounds by. low, high: the range of what reaches it, a moving average over batches in training."""

    def __init__(self, top: int) -> None:
        """top: the largest integer of a weight."""
        self.top = top
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    def inputs(self, values: Tensor, *, moves: bool) -> Tensor:
        """Round to 256 steps between `low` and `high`; unchanged before the first batch of training."""
        if moves:
            self._move(values.detach())
        if self.low is None or self.high is None:
            return values
        low, high = self.low.clamp(max=0.0), self.high.clamp(min=0.0)  # 0 must be one of the steps: padding, ReLU
        scale = ((high - low) / 255).clamp(min=_SMALLEST)
        zero = (-low / scale).round().clamp(0, 255).to(torch.int32)
        found: Tensor = torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)
        return found

    def weights(self, values: Tensor) -> Tensor:
        """Round with a scale for each output, symmetric around 0; values: (outputs, …)."""
        largest = values.detach().abs().flatten(1).amax(1)
        scale = (largest / self.top).clamp(min=_SMALLEST)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        found: Tensor = torch.fake_quantize_per_channel_affine(values, scale, zeros, 0, -self.top, self.top)
        return found

    def _move(self, values: Tensor) -> None:
        low, high = values.amin(), values.amax()
        if self.low is None or self.high is None:
            self.low, self.high = low, high
        else:
            self.low, self.high = torch.lerp(self.low, low, _SHARE), torch.lerp(self.high, high, _SHARE)


class _Linear(nn.Linear):
    quantization: _Quantization

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Compute with rounded inputs and weights."""
        inputs = self.quantization.inputs(input, moves=self.training)
        return functional.linear(inputs, self.quantization.weights(self.weight), self.bias)


class _Conv(_ConvNd):
    quantization: _Quantization

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Compute with rounded inputs and weights."""
        inputs = self.quantization.inputs(input, moves=self.training)
        return self._conv_forward(inputs, self.quantization.weights(self.weight), self.bias)


class _Conv1d(_Conv, nn.Conv1d):
    pass


class _Conv2d(_Conv, nn.Conv2d):
    pass


class _Conv3d(_Conv, nn.Conv3d):
    pass


_ROUNDED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _Linear,
    nn.Conv1d: _Conv1d,
    nn.Conv2d: _Conv2d,
    nn.Conv3d: _Conv3d,
}


class KeepZeros(Hook):
    """Puts weights that were zero back to zero after each step: what pruning took away must not come back."""

    def __init__(self, net: nn.Module) -> None:
        """Note which weights of layers are zero now; tables of vectors may learn theirs."""
        kinds = tuple(_ROUNDED)
        names = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, kinds)}
        zeros = {name: parameter == 0 for name, parameter in net.named_parameters() if name in names}
        self._zeros = {name: where.cpu() for name, where in zeros.items() if bool(where.any())}

    @torch.no_grad()
    def on_batch_end(self, state: FitState) -> None:
        """Put zeros back."""
        for name, zeros in self._zeros.items():
            if name in state.flat.parameters:
                parameter = state.flat.parameters[name]
                parameter.masked_fill_(zeros.to(parameter.device), 0.0)
