"""A real service and a real collector: requests are traced, and no collector, or none that answers, is in nobody's way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.serving.collector import ERROR, Collector, Span, collecting
from tests.serving.conftest import TABLE, make_bundle, rows_of
from tests.serving.server import LIMIT_S, Running, free_port, running
from tests.serving.slow_model import slow_onnx

BODY = json.dumps({"inputs": rows_of(TABLE, 2).tolist()}).encode()
PARENT, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SOON = "20"  # milliseconds


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as started:
        yield started


@pytest.fixture(scope="module")
def service(table_bundle: Path, collector: Collector) -> Iterator[Running]:
    with running(
        table_bundle, "--workers", "2", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY=SOON
    ) as started:
        started.wait_until_ready()
        yield started


def test_a_request_arrives_as_a_span_with_its_model_and_its_phases(service: Running, collector: Collector) -> None:
    before = time.time_ns()
    answer = service.request("POST", "/predict", BODY, x_request_id="whole")
    after = time.time_ns()
    server, phases = collector.request("whole")
    assert (answer.status, server.name, server.parent) == (200, "POST /predict", "")
    assert server.attributes["slipway.model.digest"] == answer.headers["x-model-digest"]
    assert server.attributes["slipway.rows"] == 2
    assert server.resource["service.name"] == "slipway"
    assert [span.name for span in phases] == ["read", "decode", "compute", "encode"]
    times = [before, server.start, *(ns for span in phases for ns in (span.start, span.end)), server.end, after]
    # Ends are of the wall clock, durations of the monotonic one, each as a float: a microsecond apart.
    assert all(later - earlier > -2000 for earlier, later in pairwise(times)), times


def test_the_callers_trace_goes_on_through_every_protocol(service: Running, collector: Collector) -> None:
    rows = rows_of(TABLE, 1).tolist()
    bodies = {
        "/predict": {"inputs": rows},
        "/v1/models/tiny:predict": {"instances": rows},
        "/v2/models/tiny/infer": {"inputs": [{"name": "inputs", "shape": [1, 3], "datatype": "FP32", "data": rows[0]}]},
        "/endpoints/mine/invocations": {"inputs": rows},
    }
    header = f"00-{PARENT}-{CALLER}-01"
    for path, body in bodies.items():
        answer = service.request(
            "POST", path, json.dumps(body).encode(), content_type="application/json", traceparent=header, x_request_id=path
        )
        assert answer.status == 200, answer.body
        server, phases = collector.request(path)
        assert (server.trace, server.parent, server.attributes["url.path"]) == (PARENT, CALLER, path)
        assert {span.trace for span in phases} == {PARENT}


def test_a_refused_request_is_traced_whether_its_body_was_read_or_not(service: Running, collector: Collector) -> None:
    header = f"00-{PARENT}-{CALLER}-01"
    refused = service.request("POST", "/predict", b"{}", x_request_id="refused", traceparent=header)
    unread = service.request("POST", "/predict", BODY, x_request_id="unread", traceparent=header, x_request_timeout_ms="soon")
    server, _ = collector.request("refused")
    assert (refused.status, server.attributes["http.response.status_code"], server.status) == (400, 400, 0)
    assert (server.attributes["slipway.reason"], server.parent) == ("invalid_input", CALLER)
    server, phases = collector.request("unread")
    assert (unread.status, server.parent, phases) == (400, CALLER, [])


def test_the_sampled_flag_of_the_caller_holds(service: Running, collector: Collector) -> None:
    service.request("POST", "/predict", BODY, x_request_id="unsampled", traceparent=f"00-{PARENT}-{CALLER}-00")
    service.request("POST", "/predict", BODY, x_request_id="malformed", traceparent=f"00-{PARENT}-{CALLER}-0")
    server, _ = collector.request("malformed")
    assert server.parent == ""
    assert server.trace != PARENT


def test_every_worker_sends_as_an_instance_of_its_own_and_pages_and_probes_are_not_traced(
    service: Running, collector: Collector
) -> None:
    service.wait_for_all_workers()
    service.request("GET", "/info")
    service.request("POST", "/v2/models/other/infer", BODY)

    def instances(spans: list[Span]) -> set[str]:
        return {span.resource["service.instance.id"] for span in spans}

    deadline = time.monotonic() + LIMIT_S
    while len(instances(collector.spans)) < 2:
        assert time.monotonic() < deadline
        service.request("POST", "/predict", BODY)
    names = {span.name for span in collector.spans if span.kind == 2}
    assert names <= {f"POST {path}" for path in (
        "/predict", "/v1/models/{model}:predict", "/v2/models/{model}/infer", "/endpoints/{endpoint}/invocations",
    )}  # fmt: skip
    assert "unsampled" not in {span.attributes.get("slipway.request.id") for span in collector.spans}


def test_what_is_left_is_sent_when_the_service_stops(table_bundle: Path) -> None:
    with collecting() as collector, running(table_bundle, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as service:
        service.wait_until_ready()
        service.request("POST", "/predict", BODY, x_request_id="last")
        code, _, _ = service.stop(signal.SIGTERM)
        assert code == 0
        assert [span.attributes["slipway.request.id"] for span in collector.spans if span.kind == 2] == ["last"]


def test_a_deadline_that_passed_is_an_error_of_its_kind(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> None:
    slow = make_bundle(tmp_path_factory.mktemp("slow") / "bundle", TABLE, slow_onnx(TABLE, 400))
    with running(
        slow, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces", OTEL_BSP_SCHEDULE_DELAY=SOON
    ) as service:
        service.wait_until_ready()
        answer = service.request("POST", "/predict", BODY, x_request_id="late", x_request_timeout_ms="1")
        assert answer.status == 504
        server, _ = collector.request("late")
    assert (server.status, server.attributes["error.type"]) == (ERROR, "deadline_exceeded")
    assert server.attributes["http.response.status_code"] == 504


@pytest.mark.parametrize("silent", [False, True])
def test_without_a_collector_requests_are_answered_it_is_said_once_and_stopping_takes_a_second_at_most(
    table_bundle: Path, silent: bool
) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if silent:  # takes what is sent, and never answers
            listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with running(
            table_bundle, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="0.2", OTEL_BSP_SCHEDULE_DELAY=SOON
        ) as service:
            service.wait_until_ready()
            deadline = time.monotonic() + LIMIT_S
            while not any(line.startswith("slipway_traces_lost_total{") for line in service.metrics()):
                assert time.monotonic() < deadline
                assert service.request("POST", "/predict", BODY).status == 200
            for _ in range(50):
                assert service.request("POST", "/predict", BODY).status == 200
            code, output, seconds = service.stop(signal.SIGTERM)
    assert (code, output.count("traces do not reach their collector")) == (0, 1)
    assert "Traceback" not in output
    assert len(output.splitlines()) <= 4, output
    assert seconds < 2, output


def test_a_silent_collector_does_not_hold_up_the_end(table_bundle: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(LIMIT_S)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with running(table_bundle, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY=SOON) as service:
            service.wait_until_ready()
            assert service.request("POST", "/predict", BODY).status == 200
            connection, _ = listening.accept()  # it is being waited for, for ten seconds
            with connection:
                code, output, seconds = service.stop(signal.SIGTERM)
    assert code == 0, output
    assert seconds < 2


def test_without_the_packages_the_service_ends_in_one_line(table_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'opentelemetry'\")\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    command = [sys.executable, "-m", "serving", "--bundle", str(table_bundle), "--port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "serving: OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, whose packages are not installed "
        "(No module named 'opentelemetry'); install slipway[otel], or set OTEL_SDK_DISABLED=true\n"
    )


def test_nothing_of_it_is_imported_where_nobody_asks(table_bundle: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from serving.app import create_app
from serving.bundle import Bundle
app = create_app(Bundle(Path({str(table_bundle)!r})))
app.extensions["slipway"].ledger.start()
assert app.test_client().post("/predict", data={BODY!r}).status_code == 200
app.extensions["slipway"].ledger.close()
assert not [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=LIMIT_S)
