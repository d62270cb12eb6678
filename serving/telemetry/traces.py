"""OpenTelemetry: spans of requests, made in the background from what the ledger kept, and sent to a collector by OTLP/HTTP.

    traces = Traces()
    traces.start(ledger.count)                # after the fork: it starts a thread
    traces.write(entries, names)              # on the ledger's thread
    traces.close()

What the SDK reads from the environment holds here, too: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_…, OTEL_BSP_…. No other module imports `opentelemetry`, which is an extra: import this one where traces are
asked for. Spans are `ReadableSpan`s at once: a tracer's live ones, with locks and limits, take ten times as long to make. What
takes most is their encoding; so all of it has a share of one core, and what is beyond that is left out, and counted.
"""

import logging
import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import overload

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.telemetry.entry import PREDICTING, Entry
from serving.telemetry.spans import attributes_of, phases_of, route_of
from serving.telemetry.untraced import Count, Names, Untraced

SERVICE = "slipway"  # where the environment names no service
CLOSE_S = 0.8  # for what is left when the service stops; a collector that did not answer before gets none of it
LOST = "slipway_traces_lost_total"

_SHARE = 0.05
_MOST_SAVED_S = 0.05  # of the time that silence saved for a burst
_QUEUE, _BATCH, _DELAY_MS = 2048, 512, 5000  # as the SDK has it
_SLICE, _REST_S = 16, 0.0005  # spans, or requests, in one go: to encode a batch would keep the interpreter for 10 ms
_MOST_PARENT = 512  # characters of a traceparent; the SDK logs each longer one
_SCOPE = InstrumentationScope("slipway.serving")
_EXPORTER_LOG = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
_log = logging.getLogger("slipway.serving")


class Traces(Untraced):
    """One worker's spans on their way to a collector."""

    def __init__(self, *, share: float = _SHARE) -> None:
        """Do nothing yet. share: of one core's time, at most, that traces may take."""
        self._share = share
        self._processor: BatchSpanProcessor | None = None

    def start(self, count: Count) -> None:
        """Start the thread that sends."""
        self._count = count
        self._sender = _Sender(OTLPSpanExporter(), count)
        batch = _number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", _BATCH)
        self._room = max(batch, _number("OTEL_BSP_MAX_QUEUE_SIZE", _QUEUE))
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._resource, self._sampler, self._ids = provider.resource, provider.sampler, provider.id_generator
        self._extract = TraceContextTextMapPropagator().extract
        self._queued = self._requests = 0  # spans, requests, since start
        self._saved_s, self._looked, self._spent_s, self._seen_s = _MOST_SAVED_S, time.monotonic(), 0.0, 0.0
        self._processor = BatchSpanProcessor(self._sender, self._room, _number("OTEL_BSP_SCHEDULE_DELAY", _DELAY_MS), batch)

    def write(self, entries: Collection[Entry], names: Names) -> None:
        """Make spans of what asked a model, for as long as there is time and room."""
        if self._processor is None:
            return
        began = time.thread_time()
        asked = [entry for entry in entries if entry.protocol in PREDICTING and entry.role != "shadow"]
        # Where no time is left, not even the sampler is asked: to leave something out must cost nothing.
        left_out = 0 if self._afforded(0) else len(asked)
        for entry in asked[left_out:]:
            left_out += not self._written(entry, names, self._processor)
        self._spent_s += time.thread_time() - began
        if left_out:
            self._count(LOST, {"reason": "unreachable" if self._sender.failing else "busy"}, left_out)

    def close(self) -> None:
        """Send what is left, for CLOSE_S at most; closing twice is closing once."""
        if self._processor is None:
            return
        if self._sender.failing:
            self._sender.shutdown()
        # On a thread of its own, since the SDK would wait for half a minute.
        ending = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(CLOSE_S)
        self._sender.shutdown()

    def _written(self, entry: Entry, names: Names, processor: BatchSpanProcessor) -> bool:
        """Queue a request's spans, all or none; return whether it has what it should."""
        context = Context()
        if entry.traceparent and len(entry.traceparent) <= _MOST_PARENT:
            context = self._extract({"traceparent": entry.traceparent}, context)  # a malformed one changes nothing
        given = get_current_span(context).get_span_context()
        parent = given if given.is_valid else None
        trace_id = parent.trace_id if parent else self._ids.generate_trace_id()
        route = route_of(entry.path)
        name = f"POST {route}"
        sampled = self._sampler.should_sample(context, trace_id, name, SpanKind.SERVER)  # none of the SDK's asks for attributes
        if sampled.decision is not Decision.RECORD_AND_SAMPLE:
            return True
        phases = phases_of(entry)
        if not self._afforded(1 + len(phases)):
            return False
        random = parent.trace_flags & TraceFlags.RANDOM_TRACE_ID if parent else TraceFlags.RANDOM_TRACE_ID
        flags = TraceFlags(TraceFlags.SAMPLED | random)

        def identity() -> SpanContext:
            return SpanContext(trace_id, self._ids.generate_span_id(), False, flags, sampled.trace_state)

        own, arrived = identity(), int((entry.at - entry.total) * 1e9)
        server = ReadableSpan(
            name,
            own,
            parent,
            self._resource,
            attributes_of(entry, route, names),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if entry.status >= 500 else StatusCode.UNSET),
            start_time=arrived,
            end_time=int(entry.at * 1e9),
            instrumentation_scope=_SCOPE,
        )
        for phase, start_s, end_s in phases:
            start, end = arrived + int(start_s * 1e9), arrived + int(end_s * 1e9)
            each = ReadableSpan(
                phase, identity(), own, self._resource, start_time=start, end_time=end, instrumentation_scope=_SCOPE
            )
            processor.on_end(each)
        processor.on_end(server)  # last, as with live spans: where it has arrived, so have its phases
        self._requests += 1
        if self._requests % _SLICE == 0:
            time.sleep(_REST_S)
        return True

    def _afforded(self, spans: int) -> bool:
        """Return whether there is time and room for so many more, and count them."""
        now, spent = time.monotonic(), self._spent_s + self._sender.spent_s
        self._saved_s = min(_MOST_SAVED_S, self._saved_s + (now - self._looked) * self._share - (spent - self._seen_s))
        self._looked, self._seen_s = now, spent
        if self._saved_s <= 0 or self._queued - self._sender.taken + spans > self._room:
            return False
        self._queued += spans
        return True


class _Sender(SpanExporter):
    """An exporter that counts what it takes, and logs its first failure instead of each."""

    def __init__(self, exporter: SpanExporter, count: Count) -> None:
        self.taken = 0  # spans
        self.spent_s = 0.0  # of processor time
        self.failing = False
        self._exporter, self._count = exporter, count
        self._told = self._closed = False
        self._heard = _Heard()
        _EXPORTER_LOG.addFilter(self._heard)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, for as long as OTEL_EXPORTER_OTLP_TIMEOUT allows."""
        began = time.thread_time()
        self.taken += len(spans)
        self._heard.first = ""
        result = self._exporter.export(_Unhurried(spans))
        self.failing = result is not SpanExportResult.SUCCESS
        if self.failing:
            self._count(LOST, {"reason": "unreachable"}, sum(span.kind is SpanKind.SERVER for span in spans))
            if not self._told and not self._closed:
                self._told = True
                _log.warning(
                    "traces do not reach their collector, which is counted from now on and not logged again: %s",
                    self._heard.first,
                )
        self.spent_s += time.thread_time() - began
        return result

    def shutdown(self) -> None:
        """Send nothing any more, and do not wait for another attempt; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()


class _Unhurried(Sequence[ReadableSpan]):
    """Spans that give the interpreter back now and then while somebody goes through them."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self._spans = spans

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> ReadableSpan: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ReadableSpan]: ...
    def __getitem__(self, place: int | slice) -> ReadableSpan | Sequence[ReadableSpan]:
        return self._spans[place]

    def __iter__(self) -> Iterator[ReadableSpan]:
        for start in range(0, len(self._spans), _SLICE):
            yield from self._spans[start : start + _SLICE]
            time.sleep(_REST_S)


class _Heard(logging.Filter):
    """Keeps the first line that the SDK's exporter would log of an export, and lets none through."""

    first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say no."""
        self.first = self.first or record.getMessage()
        return False


class _Origin(Resource):
    """A resource that is hashed once: the SDK asks for the hash with each span, and would write JSON for it."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _resource() -> Resource:
    found = Resource.create()
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": SERVICE}))
    return _Origin(found)


def _number(name: str, default: int) -> int:
    """Return a whole number above 0 from the environment; the default in place of anything else, as OpenTelemetry asks for."""
    given = os.environ.get(name, "").strip()
    return int(given) if given.isascii() and given.isdigit() and int(given) else default
