"""One loader for each kind of artifact: bytes in, a function from (batch, *shape) float32 to (batch, outputs) float32 out.

Each heavy import stands inside its loader, so that an ONNX bundle never imports torch and a TorchScript bundle never imports
onnxruntime.

ONNX Runtime leaves to the CPU what another provider cannot do, and all of it, without an error, where that provider's libraries
or device are not there. So a session is asked afterward who computes.
"""

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from serving.bundle import Provider, Runtime
from serving.errors import BundleError, first_line
from serving.schema import Array

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Run = Callable[[Array], Array]

_PROVIDERS: dict[Provider, tuple[str, str]] = {  # the name in ONNX Runtime, and the package that brings it
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}
# y = x + x of eight numbers, as `onnx` writes it: the least that shows whether a provider computes.
_PROBE = (
    b'\x08\x08:9\n\x0e\n\x01x\n\x01x\x12\x01y"\x03Add\x12\x05probeZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x08'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x08B\x04\n\x00\x10\x11"
)


def load(artifact: bytes, runtime: Runtime, *, threads: int = 1, provider: Provider = "cpu") -> Run:
    """Load an artifact's verified bytes; `threads` is the number of threads inside one call of the model.

    provider: of ONNX Runtime. Raises BundleError where it is not there, or would leave the model to the CPU.
    """
    if runtime == "onnxruntime":
        return _onnxruntime(artifact, threads, provider)
    if provider != "cpu":
        raise BundleError(f"only ONNX runs on {provider}, and this bundle holds {runtime}; export the run again")
    return _LOADERS[runtime](artifact, threads)


def absent(provider: Provider) -> str | None:
    """Return why the onnxruntime that is installed has no such provider, and what brings it; None where it has it."""
    import onnxruntime

    name, package = _PROVIDERS[provider]
    present = onnxruntime.get_available_providers()
    if name in present:
        return None
    others = " and ".join(known for known, (called, _) in _PROVIDERS.items() if called in present)
    return (
        f"the onnxruntime {onnxruntime.__version__} that is installed runs models on {others}, not on {provider}; "
        f"install the package {package} in its place"
    )


def probe(provider: Provider) -> str | None:
    """Return why nothing can be computed on a provider here, although it may be installed; None where it can."""
    try:
        session = _session(_PROBE, 1, provider)
        session.run(None, {"x": np.ones(8, dtype=np.float32)})
    except BundleError as error:
        return str(error)
    return None


def every_output(artifact: bytes) -> Callable[[Array], list[Array]]:
    """Load an ONNX artifact, and return a function to all of its outputs instead of the first; to look into a graph."""
    session = _session(artifact, 1, "cpu")
    (source,) = session.get_inputs()
    return lambda inputs: list(session.run(None, {source.name: inputs}))


def _onnxruntime(artifact: bytes, threads: int, provider: Provider) -> Run:
    session = _session(artifact, threads, provider)
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(inputs: Array) -> Array:
        outputs: Array = session.run([target], {source: inputs})[0]
        return outputs

    return run


def _session(artifact: bytes, threads: int, provider: Provider) -> "InferenceSession":
    import onnxruntime

    if (why := absent(provider)) is not None:
        raise BundleError(why)
    options = onnxruntime.SessionOptions()
    # ONNX Runtime sizes its pool from the host and ignores the container's share of CPUs, so both numbers are always set.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if provider != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # for _refuse_cpu
    try:
        # Without fallback: neither now nor in a later call may the CPU take over in silence.
        session = onnxruntime.InferenceSession(artifact, options, providers=_asked(provider, threads), enable_fallback=0)
    except Exception as error:  # onnxruntime raises one class per status code, none of them public
        raise BundleError(f"onnxruntime {onnxruntime.__version__} cannot load the artifact: {first_line(error)}") from error
    if provider != "cpu":
        _refuse_cpu(session, provider)
    return session


def _asked(provider: Provider, threads: int) -> list[tuple[str, dict[str, str]]]:
    """Return the providers of a session with their options; what the first does not take goes to the next, the CPU last."""
    options: dict[Provider, dict[str, str]] = {
        "cuda": {"use_tf32": "0"},  # which rounds to 10 bits what is called fp32 here
        "openvino": {
            "device_type": "CPU",
            "num_of_threads": str(threads),
            "precision": "FP32",
            "load_config": '{"CPU": {"ENABLE_CPU_PINNING": "NO"}}',  # several workers would be tied to the same cores
        },
    }
    ordered: list[Provider] = [provider, "cuda"] if provider == "tensorrt" else [provider]
    return [(_PROVIDERS[one][0], options.get(one, {})) for one in ordered]


def _refuse_cpu(session: "InferenceSession", provider: Provider) -> None:
    """Raise BundleError unless this provider computes at least a part of a session's model."""
    name, _ = _PROVIDERS[provider]
    if name not in session.get_providers():
        raise BundleError(
            f"onnxruntime was asked for {provider} and would run the model on cpu in silence: a driver, a library or a device "
            f"that {provider} needs is not there"
        )
    if not any(part.ep_name == name and part.get_nodes() for part in session.get_provider_graph_assignment_info()):
        raise BundleError(f"onnxruntime finds nothing in the model that {provider} can compute, and would run it on cpu")


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
    "torchscript": _torchscript,
    "torch_export": _torch_export,
}
