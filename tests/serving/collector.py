"""A real OTLP/HTTP collector in a thread: it decodes what it gets, and tells when enough of it is there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.serving.server import LIMIT_S

SERVER, ERROR = 2, 2  # of opentelemetry.proto.trace.v1


@dataclass
class Span:
    """One span as it came, with its resource."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    status: int
    start: int  # ns since 1970
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """What has come so far."""

    url: str
    spans: list[Span] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """Return all spans once there are enough."""
        with self.changed:
            assert self.changed.wait_for(lambda: enough(self.spans), LIMIT_S), self.spans
            return list(self.spans)

    def request(self, name: str) -> tuple[Span, list[Span]]:
        """Return the server span of the request with this id, and its phases in the order of time, once they are there."""
        found = self.wait(lambda spans: any(span.attributes.get("slipway.request.id") == name for span in spans))
        (server,) = [span for span in found if span.attributes.get("slipway.request.id") == name]
        phases = [span for span in found if span.parent == server.id]
        return server, sorted(phases, key=lambda span: (span.start, span.end))


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _spans(body: bytes) -> Iterator[Span]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.status.code,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _values(span.attributes),
                    _values(resource.resource.attributes),
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            with collector.changed:
                collector.spans += _spans(body)
                collector.changed.notify_all()
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
