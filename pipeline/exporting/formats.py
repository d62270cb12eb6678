"""One exporter for each format: a Deployable in, bytes of one self-contained file out, batch size dynamic.

payload = export(deployable, example, "onnx", metadata=metadata)       # the first way that can express the model
payload = write(deployable, example, "torch.jit.script")               # this very way, or GateRefused
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning  # torch.jit has it under the same name, but does not export it

from pipeline.config.choice_sections import Format
from pipeline.errors import GateRefused
from pipeline.exporting import torch_export, torchscript
from serving.bundle import Runtime
from serving.errors import first_line

if TYPE_CHECKING:
    from onnx import ModelProto

Way = Literal["torch.onnx.export", "torch.jit.trace", "torch.jit.script", "torch.export.export"]
Metadata = Mapping[str, Any]  # JSON-ready values

SUFFIX: dict[Format, str] = {"onnx": "onnx", "torchscript": "torchscript.pt", "torch_export": "pt2"}
RUNTIME: dict[Format, Runtime] = {"onnx": "onnxruntime", "torchscript": "torchscript", "torch_export": "torch_export"}
WAYS: dict[Format, tuple[Way, ...]] = {  # in the order that they are tried in
    "onnx": ("torch.onnx.export",),
    "torchscript": ("torch.jit.trace", "torch.jit.script"),
    "torch_export": ("torch.export.export",),
}
INPUT, OUTPUT, BATCH = "inputs", "outputs", "batch"
KEY = "slipway."  # before each key of ONNX metadata
_BRANCHES = {"TracerWarning", "GuardOnDataDependentSymNode"}
_BRANCH = "forward() takes a branch that depends on the values of the rows; write it with torch.where"


class CannotWrite(GateRefused):
    """Raised when a module cannot be expressed in a format; `reason` says why, without naming the format."""

    def __init__(self, form: Format, reason: str) -> None:
        super().__init__(f"export: the model cannot be written as {form}: {reason}")
        self.form, self.reason = form, reason


def export(module: nn.Module, example: Tensor, form: Format, *, metadata: Metadata | None = None) -> bytes:
    """Return the file's bytes, written in the first way that can express the module; raise CannotWrite when none can.

    example: (2, *shape) rows. Two, since an exporter takes a dimension of one for a constant.
    """
    faults: list[CannotWrite] = []
    for way in WAYS[form]:
        try:
            return write(module, example, way, metadata=metadata)
        except CannotWrite as error:
            faults.append(error)
    raise joined(faults) from faults[0]


def joined(faults: list[CannotWrite]) -> CannotWrite:
    """Return one refusal for all the ways of a format: why the first failed, and the others where it is for another reason."""
    first, *others = faults
    reasons = [first.reason, *(f"and by torch.jit.script: {other.reason}" for other in others if other.reason != first.reason)]
    return CannotWrite(first.form, "; ".join(reasons))


def write(module: nn.Module, example: Tensor, way: Way, *, metadata: Metadata | None = None) -> bytes:
    """Return the file's bytes, written in this way; raise CannotWrite when it cannot express the module.

    example: as `export` takes it; only its shape matters. metadata: stands in the file, see pipeline.exporting.metadata.
    """
    form = next(form for form, ways in WAYS.items() if way in ways)
    try:
        # The exporters print graphs and advice about their own internals; the reason is in the exception.
        with _silent(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            # A tracer takes one branch of an `if` on data for the only one; as an error, it is refused instead.
            warnings.simplefilter("error", TracerWarning)
            return _WRITERS[way](module, example, metadata or {})
    except Exception as error:  # exporters raise what they like, on models that users wrote
        raise CannotWrite(form, _reason(error)) from error


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return _BRANCH if type(error).__name__ in _BRANCHES else first_line(error)


@contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _onnx(module: nn.Module, example: Tensor, metadata: Metadata) -> bytes:
    """Write ONNX in one file.

    `optimize` folds constants, shapes and batch normalization, and drops what nothing reads: onnxscript's optimizer, run again
    on its result, finds nothing more (tests/exporting/test_formats.py). What else is to fuse, ONNX Runtime fuses as it loads.
    """
    import onnx

    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},),
        external_data=False,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError("its batch size became a constant; forward() must take any number of rows")
    payload = _payload(_stripped(model), metadata)
    onnx.checker.check_model(payload, full_check=True)
    return payload


def with_metadata(payload: bytes, form: Format, metadata: Metadata) -> bytes:
    """Return an ONNX or TorchScript file with this metadata in place of what it had; for files that a quantizer wrote."""
    import onnx

    if form == "torchscript":
        return torchscript.with_metadata(payload, metadata)
    return _payload(onnx.load_model_from_string(payload), metadata)


def _payload(model: "ModelProto", metadata: Metadata) -> bytes:
    model.ClearField("metadata_props")
    for name in sorted(metadata):
        model.metadata_props.add(key=f"{KEY}{name}", value=msgspec.json.encode(metadata[name]).decode())
    payload: bytes = model.SerializeToString(deterministic=True)
    return payload


def _stripped(model: "ModelProto") -> "ModelProto":
    """Remove what the exporter notes about its work: paths and stack traces of this machine are nothing to deploy."""
    for graph in [model.graph, *model.functions]:
        for part in [graph, *graph.node, *graph.value_info]:
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    return model


def with_every_value(payload: bytes) -> bytes:
    """Return an ONNX file whose outputs are all values that it computes, with its answer as the last."""
    import onnx

    model = onnx.load_model_from_string(payload)
    answer = model.graph.output.pop()
    names = [name for node in model.graph.node for name in node.output if name and name != answer.name]
    model.graph.output.extend([*(onnx.ValueInfoProto(name=name) for name in names), answer])
    widened: bytes = model.SerializeToString()
    return widened


_WRITERS: dict[Way, Callable[[nn.Module, Tensor, Metadata], bytes]] = {
    "torch.onnx.export": _onnx,
    "torch.jit.trace": torchscript.traced,
    "torch.jit.script": torchscript.scripted,
    "torch.export.export": torch_export.exported,
}
