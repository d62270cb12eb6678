"""What the protocol says about the service and its models, besides inference: pure functions from facts to replies.

    GET  /v2                           server_metadata()
    GET  /v2/health/live | ready       health_live(ready=…), health_ready(ready=…)
    GET  /v2/models                    models([name, …])
    GET  /v2/models/{m}                model_metadata(facts)
    GET  /v2/models/{m}/ready          model_ready(facts, ready=…)
    GET  /v2/models/{m}/config         model_config(facts, max_batch=…, dynamic_batching=…)
    POST /v2/repository/index          repository_index([(name, version, state, reason), …])

The paths below a model also exist with `/versions/{v}` behind its name.
"""

from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import msgspec

from serving.bundle import Runtime
from serving.exchange import Reply
from serving.facts import ModelFacts
from serving.protocols.open_inference.ports import Port, inputs_of, outputs_of

# Only what is there as a whole: `model_repository` would promise loading and unloading, too.
EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics")
_PLATFORMS: dict[Runtime, str] = {"onnxruntime": "onnx_onnxv1", "torchscript": "pytorch_torchscript"}


def server_metadata() -> Reply:
    """Say what this server is and which extensions it has."""
    return _json({"name": "slipway", "version": _version(), "extensions": EXTENSIONS})


def health_live(*, ready: bool) -> Reply:
    """Say that the process lives; some clients read `ready` here, too."""
    return _json({"live": True, "ready": ready})


def health_ready(*, ready: bool) -> Reply:
    """Say whether a model has passed its golden requests: 200, or 503."""
    return _json({"live": True, "ready": ready}, status=200 if ready else 503)


def models(names: Iterable[str]) -> Reply:
    """List the models."""
    return _json({"models": list(names)})


def model_metadata(facts: ModelFacts) -> Reply:
    """Describe a model's inputs and outputs."""
    return _json(
        {
            "name": facts.description.name,
            "versions": [facts.description.version],
            "platform": _platform(facts),
            "inputs": inputs_of(facts.schema),
            "outputs": outputs_of(facts.schema),
        }
    )


def model_ready(facts: ModelFacts, *, ready: bool) -> Reply:
    """Say whether a model answers: 200, or 503."""
    return _json({"name": facts.description.name, "ready": ready}, status=200 if ready else 503)


def model_config(facts: ModelFacts, *, max_batch: int, dynamic_batching: bool) -> Reply:
    """Describe a model as Triton's configuration does; dimensions without the batch.

    max_batch: most rows of one request, at least 1.
    """
    config: dict[str, Any] = {
        "name": facts.description.name,
        "platform": _platform(facts),
        "max_batch_size": max_batch,
        "input": [_configured(port) for port in inputs_of(facts.schema)],
        "output": [_configured(port) for port in outputs_of(facts.schema)],
    }
    return _json(config | ({"dynamic_batching": {}} if dynamic_batching else {}))


def repository_index(entries: Iterable[tuple[str, str, str, str]]) -> Reply:
    """List (name, version, state, reason); state: READY or UNAVAILABLE, whose reason says why."""
    keys = ("name", "version", "state", "reason")
    return _json([dict(zip(keys, entry, strict=True)) for entry in entries])


def _configured(port: Port) -> dict[str, Any]:
    kind = "TYPE_STRING" if port.datatype == "BYTES" else f"TYPE_{port.datatype}"
    if len(port.shape) == 1:  # a configuration has no empty dimensions: one value, whose shape is taken away again
        return {"name": port.name, "data_type": kind, "dims": [1], "reshape": {"shape": []}}
    return {"name": port.name, "data_type": kind, "dims": port.shape[1:]}


def _platform(facts: ModelFacts) -> str:
    return _PLATFORMS[facts.description.artifact.runtime]


@lru_cache(maxsize=1)
def _version() -> str:
    return version("slipway")


def _json(body: Any, *, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(body))
