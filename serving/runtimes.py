"""One loader for each kind of artifact: bytes in, a function from (batch, *shape) float32 to (batch, outputs) float32 out.

Each heavy import stands inside its loader, so that an ONNX bundle never imports torch and a TorchScript bundle never imports
onnxruntime.
"""

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from serving.bundle import Runtime
from serving.errors import BundleError, first_line
from serving.schema import Array

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Run = Callable[[Array], Array]


def load(artifact: bytes, runtime: Runtime, *, threads: int = 1) -> Run:
    """Load an artifact's verified bytes; `threads` is the number of threads inside one call of the model."""
    return _LOADERS[runtime](artifact, threads)


def every_output(artifact: bytes) -> Callable[[Array], list[Array]]:
    """Load an ONNX artifact, and return a function to all of its outputs instead of the first; to look into a graph."""
    session = _session(artifact, threads=1)
    (source,) = session.get_inputs()
    return lambda inputs: list(session.run(None, {source.name: inputs}))


def _onnxruntime(artifact: bytes, threads: int) -> Run:
    session = _session(artifact, threads)
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(inputs: Array) -> Array:
        outputs: Array = session.run([target], {source: inputs})[0]
        return outputs

    return run


def _session(artifact: bytes, threads: int) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # ONNX Runtime sizes its pool from the host and ignores the container's share of CPUs, so both numbers are always set.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises one class per status code, none of them public
        raise BundleError(f"onnxruntime {onnxruntime.__version__} cannot load the artifact: {first_line(error)}") from error


def _torchscript(artifact: bytes, threads: int) -> Run:
    try:
        import torch
    except ImportError as error:
        raise BundleError(
            "this bundle holds TorchScript and torch is not installed: pip install torch, or export ONNX"
        ) from error
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)  # 8-bit kernels do not promise to repeat; training asks for it itself
    with warnings.catch_warnings():
        # TorchScript is deprecated as a whole; the format stays offered as long as torch can load it (docs/decisions.md).
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module = torch.jit.load(io.BytesIO(artifact), map_location="cpu").eval()
        except RuntimeError as error:
            raise BundleError(f"torch {torch.__version__} cannot load the artifact: {first_line(error)}") from error

    def run(inputs: Array) -> Array:
        with torch.inference_mode():
            outputs: Array = module(torch.from_numpy(inputs)).numpy()
        return outputs

    return run


def _torch_export(artifact: bytes, threads: int) -> Run:
    """Load a program of torch.export that this very machine made: it is unpickled, so no bundle brings one (serving.bundle)."""
    import torch

    torch.set_num_threads(threads)
    try:
        module = torch.export.load(io.BytesIO(artifact)).module()
    except Exception as error:  # it raises whatever zip, pickle and JSON raise on a foreign file
        raise BundleError(f"torch {torch.__version__} cannot load the artifact: {first_line(error)}") from error

    def run(inputs: Array) -> Array:
        with torch.inference_mode():
            outputs: Array = module(torch.from_numpy(inputs)).numpy()
        return outputs

    return run


_LOADERS: dict[Runtime, Callable[[bytes, int], Run]] = {
    "onnxruntime": _onnxruntime,
    "torchscript": _torchscript,
    "torch_export": _torch_export,
}
