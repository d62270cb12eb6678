"""Which execution providers of ONNX Runtime an ONNX file is measured on. Imports no torch.

Installed is not enough: a package for CUDA is also on machines without a driver. So each is asked to compute, in a process that
may die of it and that gives the device's memory back.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.artifacts import Listed
from pipeline.config import Config
from pipeline.config.choice_sections import Provider
from pipeline.errors import ConfigError
from pipeline.measuring.process import Worker, WorkerFailed
from serving import runtimes

_FURTHER: tuple[Provider, ...] = ("cuda", "tensorrt", "openvino")


def providers_of(config: Config) -> tuple[Provider, ...]:
    """Return the providers to measure on, cpu first; raise ConfigError, a line for each, where a named one does not work."""
    wanted = config.benchmark.providers
    asked = _FURTHER if wanted == "auto" else tuple(one for one in wanted if one != "cpu")
    faults = {provider: fault for provider in asked if (fault := _fault(provider)) is not None}
    if wanted != "auto" and faults:
        lines = [f"benchmark.providers: {provider}: {fault}, or leave {provider} out" for provider, fault in faults.items()]
        raise ConfigError(*lines)
    return ("cpu", *(provider for provider in asked if provider not in faults))


def check_providers(config: Config) -> None:
    """Raise ConfigError where a provider is named that does not work here; what is not named is not looked for."""
    if config.benchmark.providers != "auto":
        providers_of(config)


def providers_for(listed: Listed, providers: Sequence[Provider]) -> Sequence[Provider]:
    """Return those of the providers that a file is measured on: all for ONNX, else the CPU."""
    return providers if listed.format == "onnx" else ("cpu",)


def _fault(provider: Provider) -> str | None:
    """Return why nothing is computed on a provider here; None where it is."""
    if (absent := runtimes.absent(provider)) is not None:
        return absent
    with TemporaryDirectory() as folder, Worker(Path(folder, "log")) as worker:
        try:
            return worker.probe(provider)
        except WorkerFailed as error:
            return f"onnxruntime does not survive it: {error}; mend what {provider} needs"
