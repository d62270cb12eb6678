"""What the service says of itself: alive, ready, what it serves, what it counts.

Each is a function from a request to a reply, so that the gate answers those that probes ask without a thread.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from serving.endpoints import vertex_health
from serving.errors import NotFound, NotReady
from serving.exchange import Reply, Request
from serving.facts import ModelFacts
from serving.openapi import document
from serving.protocols import instances, mlflow_scoring
from serving.protocols.open_inference import metadata
from serving.service import Service
from serving.telemetry import CONTENT_TYPE

View = Callable[..., Reply]  # takes the request, and by name what stands in the path
_V2_MODELS = ("/v2/models/<model>", "/v2/models/<model>/versions/<version>")


class Views:
    """The views of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def probes(self) -> dict[str, View]:
        """Return the views that need no key, that take microseconds, and that must answer whatever else goes on."""
        return {
            "/healthz": self.alive,
            "/readyz": self.ready,
            "/ping": lambda _: mlflow_scoring.ping(self._service.ready),
            "/health": lambda _: mlflow_scoring.ping(self._service.ready),
            "/version": lambda _: mlflow_scoring.version(),
            **dict.fromkeys(vertex_health(), self.ready),
            "/v2/health/live": lambda _: metadata.health_live(ready=self._service.ready),
            "/v2/health/ready": lambda _: metadata.health_ready(ready=self._service.ready),
        }

    def described(self) -> dict[str, View]:
        """Return the other views, by Flask's rule."""
        return {
            "/info": self.info,
            "/metrics": lambda _: Reply(200, self._service.ledger.text(), CONTENT_TYPE),
            "/stats": lambda _: _json(self._service.ledger.summary()),
            "/openapi.json": self.openapi,
            "/v1/models/<model>": self._of_model(lambda facts: instances.status(facts, self._service.ready)),
            "/v2": lambda _: metadata.server_metadata(),
            "/v2/models": lambda _: metadata.models([self._service.fleet.description.name]),
            "/v2/models/stats": self.statistics,
            "/v2/repository/index": self.index,
            **{f"{rule}{end}": view for rule in _V2_MODELS for end, view in self._v2_model().items()},
        }

    def index(self, _: Request) -> Reply:
        """List the live model as Triton's repository extension does."""
        fleet = self._service.fleet
        state = "READY" if self._service.ready else "UNAVAILABLE"
        return metadata.repository_index([(fleet.description.name, fleet.description.version, state, fleet.unready or "")])

    def statistics(self, _: Request) -> Reply:
        """Give counts and times of every model, as load tools read them."""
        return self._statistics_of(*(model.facts for model in self._service.fleet.models().values()))

    def _statistics_of(self, *models: ModelFacts) -> Reply:
        return _json({"model_stats": [self._service.ledger.statistics(facts.digest) for facts in models]})

    def _v2_model(self) -> dict[str, View]:
        """Return the views of one model by the end of their path."""
        service = self._service

        def config(facts: ModelFacts) -> Reply:
            live = service.fleet.live
            most = max(1, facts.limits.values // math.prod(facts.schema.shape))
            return metadata.model_config(
                facts, max_batch=most, dynamic_batching=live is not None and live.engine.batch_rows > 1
            )

        return {
            "": self._of_model(metadata.model_metadata),
            "/ready": self._of_model(lambda facts: metadata.model_ready(facts, ready=service.ready)),
            "/config": self._of_model(config),
            "/stats": self._of_model(self._statistics_of),
        }

    def _of_model(self, view: Callable[[ModelFacts], Reply]) -> View:
        """Return a view of the model, and of the version, that the path names."""

        def found(_: Request, *, model: str, version: str | None = None) -> Reply:
            for loaded in self._service.fleet.models().values():
                described = loaded.facts.description
                if described.name == model and version in {None, described.version}:
                    return view(loaded.facts)
            if self._service.fleet.live is None:
                raise NotReady("the model is not ready; GET /readyz says why", retry_after=5)
            wanted = model if version is None else f"{model} version {version}"
            raise NotFound(f"no model {wanted[:100]!r} here; GET /v2/models lists what is served")

        return found

    def alive(self, _: Request) -> Reply:
        """Answer as long as the process does."""
        return _json({"status": "alive"})

    def ready(self, _: Request) -> Reply:
        """Answer 200 once golden requests have passed, 503 before, and while the service is about to stop."""
        fleet = self._service.fleet
        if self._service.ready:
            return _json({"status": "ready", "model": self._identity()})
        reason = "the service is about to stop" if fleet.draining else fleet.unready
        return _json({"status": "not ready", "reason": reason}, status=503)

    def info(self, _: Request) -> Reply:
        """Describe the live model, those beside it, and the last swap that was refused."""
        fleet = self._service.fleet
        beside = {
            role: {**model.facts.identity, **({"percent": self._service.settings.percent} if role == "canary" else {})}
            for role, model in fleet.models().items()
            if role != "live"
        }
        shown = {"model": self._identity(), "ready": self._service.ready, "unready": fleet.unready, **beside}
        return _json(shown | {"swap_refused": fleet.refused} | msgspec.to_builtins(fleet.description))

    def openapi(self, _: Request) -> Reply:
        """Describe every route, with examples that work."""
        facts = self._service.facts()
        if facts is None:
            raise NotReady("the model is not ready; GET /readyz says why", retry_after=5)
        rows = [row for row in self._service.examples() if not isinstance(row, bytes)][:2]
        return _json(document(facts, rows=rows, keyed=bool(self._service.settings.keys)))

    def _identity(self) -> dict[str, str]:
        fleet = self._service.fleet
        return {"name": fleet.description.name, "version": fleet.description.version, "digest": fleet.digest}


def _json(body: Any, *, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(body))
