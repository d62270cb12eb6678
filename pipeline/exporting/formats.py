"""One exporter for each format: a Deployable in, bytes of one self-contained file out, batch size dynamic."""

import io
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning  # torch.jit has it under the same name, but does not export it

from pipeline.config.sections import Format
from pipeline.errors import GateRefused
from serving.bundle import Runtime
from serving.errors import first_line

if TYPE_CHECKING:
    from onnx import ModelProto

SUFFIX: dict[Format, str] = {"onnx": "onnx", "torchscript": "torchscript.pt"}
RUNTIME: dict[Format, Runtime] = {"onnx": "onnxruntime", "torchscript": "torchscript"}
_BRANCHES = {"TracerWarning", "GuardOnDataDependentSymNode"}
INPUT, OUTPUT, BATCH = "inputs", "outputs", "batch"


def export(module: nn.Module, example: Tensor, form: Format) -> bytes:
    """Return the file's bytes; raise GateRefused when the module cannot be expressed in the format.

    example: (2, *shape) rows. Two, since an exporter takes a dimension of one for a constant.
    """
    try:
        # The exporters print graphs and advice about their own internals; the reason is in the exception.
        with _silent(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            # A tracer takes one branch of an `if` on data for the only one; as an error, it is refused instead.
            warnings.simplefilter("error", TracerWarning)
            return _EXPORTERS[form](module, example)
    except Exception as error:  # exporters raise what they like, on models that users wrote
        raise GateRefused(f"export: the model cannot be written as {form}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    if type(error).__name__ in _BRANCHES:
        return "forward() takes a branch that depends on the values of the rows; write it with torch.where"
    return first_line(error)


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


def _onnx(module: nn.Module, example: Tensor) -> bytes:
    import onnx

    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    if not program.model_proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError("its batch size became a constant; forward() must take any number of rows")
    payload: bytes = _stripped(program.model_proto).SerializeToString(deterministic=True)
    onnx.checker.check_model(payload, full_check=True)
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
    model.ClearField("metadata_props")
    return model


def _torchscript(module: nn.Module, example: Tensor) -> bytes:
    traced = torch.jit.trace(module, example)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.freeze(traced), buffer)
    return _without_debug(buffer.getvalue())


def _without_debug(archive: bytes) -> bytes:
    """Remove the debug tables of a TorchScript archive, which name the source files of this machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as whole, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as kept:
        for entry in whole.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(zipfile.ZipInfo(entry.filename), whole.read(entry))
    return buffer.getvalue()


_EXPORTERS: dict[Format, Callable[[nn.Module, Tensor], bytes]] = {"onnx": _onnx, "torchscript": _torchscript}
