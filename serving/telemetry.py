"""What the service counts, for `GET /metrics` in Prometheus' text format: base units, `_total` on counters, no ids in labels.

With several workers each process would count for itself; `prometheus_client` then adds them up through files in a folder
that `serving.__main__` names before any worker starts.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own variable
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds. Finer than the client's defaults below 5 ms, where small models answer.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Telemetry:
    """The metrics of one process, in a registry of their own so that two services can live in one process."""

    def __init__(self, model: dict[str, str]) -> None:
        """Start all series at zero; `model` labels the `slipway_model_info` gauge."""
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("slipway_requests", "Requests by route and status.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "slipway_request_duration_seconds",
            "Time from the parsed request line to the encoded answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.rows = Counter("slipway_rows", "Rows predicted.", registry=registry)
        self.ready = Gauge("slipway_ready", "1 once golden requests passed.", registry=registry, multiprocess_mode="livemin")
        info = Gauge(
            "slipway_model_info", "The model that answers.", list(model), registry=registry, multiprocess_mode="livemax"
        )
        info.labels(**model).set(1)

    def text(self) -> bytes:
        """Return the exposition text, summed over all workers."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        summed = CollectorRegistry()
        MultiProcessCollector(summed)
        return generate_latest(summed)
