"""Spans are what the ledger kept, by OpenTelemetry's conventions, within their share of time, and whole or not at all."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from serving.options import traced
from serving.telemetry.spans import attributes_of, phases_of, route_of
from serving.telemetry.traces import CLOSE_S, LOST, Traces
from tests.serving.collector import ERROR, Collector, Span, collecting
from tests.serving.test_telemetry import DIGEST, entry

NAMES = {DIGEST: ("tiny", "1")}
PARENT, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
AT = 1_800_000_000.25  # seconds since 1970


def asked(**changes: Any) -> Any:
    return entry(**({"path": "/predict", "at": AT} | changes))


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as started:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", started.url)
        yield started


def sent(collector: Collector, *entries: Any, share: float = 1.0) -> tuple[list[Span], Counter[str]]:
    """Every span of these entries, and requests that were lost, by reason."""
    lost: Counter[str] = Counter()

    def count(name: str, labels: dict[str, str], amount: float) -> None:
        assert name == LOST
        lost[labels["reason"]] += int(amount)

    traces = Traces(share=share)
    traces.start(count)
    for start in range(0, len(entries), 256):  # as the ledger does
        traces.write(entries[start : start + 256], NAMES)
    traces.close()
    return collector.spans, lost


def test_a_request_is_a_server_span_with_a_child_for_each_phase_that_took_time(collector: Collector) -> None:
    spans, lost = sent(collector, asked(rows=2, batch=8, role="canary", total=0.008))
    server = spans[-1]
    assert (server.name, server.kind, server.status, server.parent) == ("POST /predict", 2, 0, "")
    assert server.attributes == {
        "http.request.method": "POST", "http.route": "/predict", "http.response.status_code": 200, "url.path": "/predict",
        "url.scheme": "http", "slipway.request.id": "one", "slipway.protocol": "predict", "slipway.role": "canary",
        "slipway.model.name": "tiny", "slipway.model.version": "1", "slipway.model.digest": DIGEST, "slipway.rows": 2,
        "slipway.batch": 8,
    }  # fmt: skip
    assert server.end == AT * 1e9
    assert {(span.trace, span.parent, span.kind) for span in spans[:-1]} == {(server.trace, server.id, 1)}
    times = {span.name: [round((ns - server.start) / 1e6, 1) for ns in (span.start, span.end)] for span in spans}
    # 1 ms between the end of computing and the start of encoding is the way back from the engine's thread.
    assert times == {"POST /predict": [0, 8], "read": [0, 1], "decode": [1, 3], "compute": [3, 6], "encode": [7, 8]}
    assert not lost


def test_what_asked_no_model_and_what_a_shadow_computed_has_no_span(collector: Collector) -> None:
    assert sent(collector, entry(protocol="other"), asked(role="shadow")) == ([], {})


def test_only_a_fault_of_ours_is_an_error(collector: Collector) -> None:
    refused = {400: "invalid_input", 499: "client_closed_request", 503: "overloaded", 504: "deadline_exceeded"}
    spans, _ = sent(collector, *(asked(status=status, reason=reason, model="") for status, reason in refused.items()))
    servers = [span for span in spans if span.kind == 2]
    assert [span.attributes["slipway.reason"] for span in servers] == list(refused.values())
    assert [span.status == ERROR for span in servers] == [False, False, True, True]
    assert [span.attributes.get("error.type") for span in servers] == [None, None, "overloaded", "deadline_exceeded"]
    assert not any("slipway.model.digest" in span.attributes for span in servers)


@pytest.mark.parametrize("header", [f"00-{PARENT}-{CALLER}-01", f"cc-{PARENT}-{CALLER}-01-what-a-later-version-adds"])
def test_the_callers_span_is_the_parent(collector: Collector, header: str) -> None:
    spans, _ = sent(collector, asked(traceparent=header))
    assert {span.trace for span in spans} == {PARENT}
    assert spans[-1].parent == CALLER


@pytest.mark.parametrize(
    "header",
    [
        "nonsense", f"00-{PARENT}-{CALLER}", f"00-{PARENT.upper()}-{CALLER}-01", f"ff-{PARENT}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01", f"00-{PARENT}-{'0' * 16}-01", f"00-{PARENT}-{CALLER}-01-more", "0" * 10_000,
    ],
)  # fmt: skip
def test_a_malformed_traceparent_begins_a_new_trace(
    collector: Collector, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    spans, _ = sent(collector, asked(traceparent=header), asked(traceparent=header))
    servers = [span for span in spans if span.kind == 2]
    assert [span.parent for span in servers] == ["", ""]
    assert len({span.trace for span in servers} | {PARENT}) == 3
    assert not caplog.records


@pytest.mark.parametrize(
    ("sampler", "alone", "sampled", "unsampled"),
    [
        (None, True, True, False),
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_off", False, True, False),
        ("parentbased_traceidratio", False, True, False),
    ],
)
def test_the_caller_and_the_sampler_decide_what_is_sent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str | None, alone: bool, sampled: bool, unsampled: bool
) -> None:
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    headers = {"alone": "", "sampled": f"00-{PARENT}-{CALLER}-01", "unsampled": f"00-{PARENT}-{CALLER}-00"}
    spans, lost = sent(collector, *(asked(id=name, traceparent=header) for name, header in headers.items()))
    found = {span.attributes["slipway.request.id"] for span in spans if span.kind == 2}
    assert found == {name for name, wanted in zip(headers, (alone, sampled, unsampled), strict=True) if wanted}
    assert not lost  # what is not sampled was not lost


def test_a_burst_beyond_the_queue_is_left_out_by_whole_traces_and_counted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "103")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "103")
    spans, lost = sent(collector, *(asked(id=str(number)) for number in range(1000)))
    sizes = Counter(span.trace for span in spans)
    assert set(sizes.values()) == {5}
    assert lost == {"busy": 1000 - len(sizes)}
    assert lost["busy"] > 0


def test_traces_take_no_more_than_their_share_of_time(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000000")
    some, _ = sent(collector, *(asked() for _ in range(20_000)), share=0.0)
    # 20,000 requests take seconds; only what silence saves for a burst, 0.05 s, was there.
    assert 0 < len(some) < 5 * 10_000


def test_a_path_that_is_no_text_spoils_no_batch(collector: Collector) -> None:
    spans, lost = sent(collector, asked(path="/endpoints/\ud800/invocations"), asked(id="next"))
    servers = [span for span in spans if span.kind == 2]
    assert [span.name for span in servers] == ["POST /endpoints/{endpoint}/invocations", "POST /predict"]
    assert not lost


@pytest.mark.parametrize(("given", "name"), [({}, "slipway"), ({"OTEL_SERVICE_NAME": "digits"}, "digits")])
def test_the_service_has_a_name(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], name: str
) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    spans, _ = sent(collector, asked())
    assert spans[-1].resource["service.name"] == name
    assert spans[-1].resource["service.instance.id"]


def test_numbers_that_are_none_are_the_defaults(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY"):
        monkeypatch.setenv(name, "-1")
    assert len(sent(collector, asked())[0]) == 5


def test_nothing_is_done_before_the_start_and_closing_twice_is_closing_once(collector: Collector) -> None:
    traces = Traces()
    traces.write([asked()], NAMES)
    traces.close()
    traces.start(lambda *_: None)
    traces.close()
    traces.close()
    assert not collector.spans
    assert CLOSE_S < 1


def test_phases_lie_within_their_request() -> None:
    late = asked(read=0.0, decode=0.01, queue=0.02, compute=5.0, encode=0.0, total=1.0)
    assert phases_of(late) == [("decode", 0.0, 0.01), ("queue", 0.01, 0.03), ("compute", 0.03, 1.0)]


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/predict"),
        ("/predict/", "/predict"),
        ("/invocations", "/invocations"),
        ("/endpoints/mine/invocations", "/endpoints/{endpoint}/invocations"),
        ("/v1/models/digits:predict", "/v1/models/{model}:predict"),
        ("/v2/models/digits/infer", "/v2/models/{model}/infer"),
        ("/v2/models/digits/versions/1/infer", "/v2/models/{model}/versions/{version}/infer"),
        ("/vertex", "/vertex"),
    ],
)
def test_a_route_names_no_model(path: str, route: str) -> None:
    assert route_of(path) == route
    assert attributes_of(asked(path=path), route, NAMES)["url.path"] == path


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        (ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/v1/traces"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console, otlp"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            {
                **ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    ],
)  # fmt: skip
def test_the_environment_asks_for_traces(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], asks: str | None) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert traced() == asks


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317", "OTEL_EXPORTER_OTLP_ENDPOINT must begin with http"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'http/json'"),
    ],
)
def test_what_is_not_spoken_here_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        traced()
