"""Every protocol's way to a model: its label in metrics, its codec, and its way to say no."""

import os
from typing import NamedTuple

from serving.exchange import Codec, Dialect
from serving.facts import ModelFacts
from serving.protocols import instances, mlflow_scoring, native, open_inference


class Endpoint(NamedTuple):
    """A protocol's way to the model: its label in metrics and its way to say no. version: the one that the path asks for."""

    protocol: str
    refuse: Dialect
    version: str | None = None


PREDICT = Endpoint("predict", native.refuse)
V2 = Endpoint("v2", open_inference.refuse)
INVOCATIONS = Endpoint("invocations", mlflow_scoring.refuse)
V1 = Endpoint("v1", instances.refuse)
OTHER = Endpoint("other", native.refuse)  # pages, health, metrics


def dialect_of(path: str) -> Endpoint:
    """Return the endpoint whose dialect a path is answered in, also where nothing is there."""
    if path.startswith("/v2"):
        return V2
    if path.startswith("/v1"):
        return V1
    if path.startswith(("/invocations", "/endpoints/")):
        return INVOCATIONS
    return PREDICT


def codecs_of(facts: ModelFacts) -> dict[str, Codec]:
    """Return a codec of each protocol for a model."""
    return {
        PREDICT.protocol: native.Codec(facts),
        V2.protocol: open_inference.Codec(facts),
        INVOCATIONS.protocol: mlflow_scoring.Codec(facts),
        V1.protocol: instances.Codec(facts),
    }


def vertex_routes() -> list[str]:
    """Return the path at which Vertex AI asks, as it tells its containers; none anywhere else."""
    return [path for path in [os.environ.get("AIP_PREDICT_ROUTE")] if path]


def vertex_health() -> list[str]:
    """Return the path at which Vertex AI asks whether the container is ready, likewise."""
    return [path for path in [os.environ.get("AIP_HEALTH_ROUTE")] if path]


def routes_to(name: str, versions: list[str]) -> dict[tuple[str, str], Endpoint]:
    """Return where models of this name answer, by exact method and path."""
    found = {"/predict": PREDICT, "/invocations": INVOCATIONS, f"/v2/models/{name}/infer": V2, f"/v1/models/{name}:predict": V1}
    found |= {f"/v2/models/{name}/versions/{version}/infer": V2._replace(version=version) for version in versions}
    found |= dict.fromkeys(vertex_routes(), V1)
    return {("POST", path): endpoint for path, endpoint in found.items()}
