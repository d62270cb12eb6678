"""The one place that knows torch.ao.quantization: int8 TorchScript, static through torch.fx.

Its dynamic linear layers are not used: they scale a whole batch by its largest value, so an answer moves with the rows beside.

torch.ao.quantization is deprecated in favor of torchao, whose traced results compute in float; nothing else gives TorchScript
with integer kernels. It works in torch 2.13; when a later one lacks it, this file goes and ONNX is left.
"""

import copy
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import (
    HistogramObserver,
    MinMaxObserver,
    QConfig,
    QConfigMapping,
    default_per_channel_weight_observer,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from pipeline.errors import GateRefused
from pipeline.exporting.formats import export
from pipeline.models.deployable import Deployable
from pipeline.quantization.arithmetic import Arithmetic
from pipeline.quantization.bounded import Calibration, Unquantizable
from serving.errors import first_line
from serving.schema import Array

_ENGINES = ("x86", "onednn", "fbgemm", "qnnpack")  # the first that this build of torch has
_KINDS = {nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear}  # exactly: torch leaves classes derived from them in float
_INTEGER = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")  # where the modules live that replace them
_ROWS = 64  # at once, to find ranges on
_NET = "net."
_OBSERVERS: dict[str, Any] = {"minmax": MinMaxObserver, "histogram": HistogramObserver}


def calibrations_for(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return what torch has of the configured ways: minmax; for entropy or percentile its own search of a histogram.

    That search takes the range with the least squared error, so it is named histogram.
    """
    return tuple(dict.fromkeys("minmax" if way == "minmax" else "histogram" for way in wanted))


class TorchStatic:
    """A `Subject`: a float Deployable, quantized between its preprocessing and its answer."""

    def __init__(self, deployable: Deployable, rows: Array, arithmetic: Arithmetic, calibrations: Sequence[str]) -> None:
        """rows: (rows, *shape) raw train rows, at least 2. calibrations: as `calibrations_for` returns them.

        Raises Unquantizable when torch.fx cannot follow the network, or leaves all layers in float.
        """
        self._deployable, self._arithmetic = deployable, arithmetic
        self._examples = torch.from_numpy(rows[:2])
        with torch.no_grad():
            self._rows: Tensor = deployable.normalize(torch.from_numpy(rows))
        self.layers: Sequence[str] = _layers(deployable.net)
        self.calibrations: Sequence[Calibration] = tuple(calibrations)
        if self.layers:
            self._keep_what_becomes_integer()

    def quantized(self, calibration: Calibration, *, floats: Collection[str]) -> bytes:
        """Return TorchScript with all layers quantized but those in `floats`; raises Unquantizable."""
        assert calibration is not None
        with _torch_ao():
            return _written(self._deployable, self._converted(calibration, floats, self._rows), self._examples)

    def _keep_what_becomes_integer(self) -> None:
        """Convert once, on two rows, and leave out what torch left in float without a word."""
        with _torch_ao():
            net = self._converted("minmax", (), self._rows[:2])
        there = {_NET + name for name, module in net.named_modules() if type(module).__module__.startswith(_INTEGER)}
        self.layers = [name for name in self.layers if name in there]
        if not self.layers:
            raise Unquantizable("none of its layers became integer")

    def _converted(self, calibration: str, floats: Collection[str], rows: Tensor) -> nn.Module:
        """Return the network with all layers quantized but those in `floats`; rows: (rows, *shape) normalized, for ranges."""
        observer = _OBSERVERS[calibration].with_args(dtype=torch.quint8, reduce_range=self._arithmetic.reduce_range)
        mapping = self._mapping(QConfig(activation=observer, weight=default_per_channel_weight_observer), floats)
        try:
            watched = prepare_fx(copy.deepcopy(self._deployable.net), mapping, (self._rows[:2],))
            with torch.no_grad():
                for part in rows.split(_ROWS):
                    watched(part)
            net: nn.Module = convert_fx(watched)
        except Exception as error:  # tracing and conversion raise what they like, on models that users wrote
            raise Unquantizable(f"torch.fx cannot follow its forward(): {first_line(error)}") from error
        return net

    def _mapping(self, chosen: QConfig, floats: Collection[str]) -> QConfigMapping:
        """Name the layers alone: a global choice also rounds what stands between them, and took twice the time on a ResNet."""
        mapping = QConfigMapping().set_global(None)
        for name in self.layers:
            mapping.set_module_name(name.removeprefix(_NET), None if name in floats else chosen)
        return mapping


def engine() -> str:
    """Return the library of integer kernels that artifacts are made for."""
    there = torch.backends.quantized.supported_engines
    return next((name for name in _ENGINES if name in there), torch.backends.quantized.engine)


def _layers(net: nn.Module) -> list[str]:
    """Return what torch may quantize; the projections of an attention are read by it as plain tensors, never called."""
    attention = {name for name, module in net.named_modules() if isinstance(module, nn.MultiheadAttention)}
    return [
        _NET + name
        for name, module in net.named_modules()
        if type(module) in _KINDS and name and name.rpartition(".")[0] not in attention
    ]


def _written(deployable: Deployable, net: nn.Module, examples: Tensor) -> bytes:
    whole = copy.deepcopy(deployable)
    whole.net = net
    try:
        return export(whole.eval(), examples, "torchscript")
    except GateRefused as error:
        raise Unquantizable(error.lines[0].removeprefix("export: ")) from error


@contextmanager
def _torch_ao() -> Iterator[None]:
    """Use the chosen engine, and keep to itself that torch.ao.quantization is deprecated: the module's docstring says why."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.quantized.engine = before
