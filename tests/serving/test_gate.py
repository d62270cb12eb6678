"""The gate: slow, greedy and broken clients cost their own request, and nobody else's."""

import contextlib
import gzip
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serving.app import create_app
from serving.bundle import Bundle
from serving.errors import Overloaded
from serving.exchange import Request
from serving.facts import Limits
from serving.gate import Gate
from serving.settings import Settings
from tests.serving.conftest import TABLE, make_bundle, rows_of
from tests.serving.server import LIMIT_S, Answer, Running, resident, running
from tests.serving.slow_model import slow_onnx

BODY = json.dumps({"inputs": rows_of(TABLE, 2).tolist()}).encode()
READ_S = 1.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    bundle = make_bundle(tmp_path_factory.mktemp("gate") / "bundle", TABLE)
    with running(bundle, "--read", str(READ_S), "--max-body-mb", "1") as started:
        started.wait_until_ready()
        yield started


def connected(service: Running, payload: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=20)
    connection.sendall(payload)
    return connection


def head(length: int | str, path: str = "/predict", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n{more}\r\n".encode()


def reply_of(connection: socket.socket) -> bytes:
    """One reply, as long as its Content-Length says, or all that comes until the other side closes."""
    received = b""
    with contextlib.closing(connection), contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
            head, found, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if found and length and len(body) >= int(length[1]):
                break
    return received


def error_of(answer: Answer) -> dict[str, str]:
    error: dict[str, str] = json.loads(answer.body)["error"]
    return error


def p99_of(service: Running, count: int = 100) -> float:
    """Seconds of the slowest but one of some requests."""
    times = []
    for _ in range(count):
        started = time.monotonic()
        assert service.request("POST", "/predict", BODY).status == 200
        times.append(time.monotonic() - started)
    return sorted(times)[-2]


def test_200_clients_with_half_a_body_hold_nobody_up_and_get_408_in_time(service: Running) -> None:
    started = time.monotonic()
    slow = [connected(service, head(len(BODY)) + BODY[:9]) for _ in range(200)]
    slowest = p99_of(service)
    assert service.request("GET", "/healthz").status == 200
    replies = [reply_of(connection) for connection in slow]
    assert slowest < 0.25  # far from READ_S, on however busy a machine; docs/serving.md has what was measured
    assert all(reply.startswith(b"HTTP/1.1 408 ") for reply in replies)
    assert all(b"did not arrive within 1 s" in reply and b"connection: close" in reply for reply in replies)
    assert time.monotonic() - started < READ_S + 10


def test_an_idle_connection_is_kept_for_the_next_request_for_as_long_as_was_asked(table_bundle: Path) -> None:
    with running(table_bundle, "--idle", "2") as service:
        service.wait_until_ready()
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=LIMIT_S)
        for _ in range(2):
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            kept = connection.sock
            time.sleep(1)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        assert connection.sock is kept, "http.client opens another one where this one is closed"
        started = time.monotonic()
        assert kept.recv(1) == b"", "closed in the end"
        assert 1 < time.monotonic() - started < 10
        connection.close()


def test_clients_that_drip_bytes_are_cut_off_all_the_same(service: Running) -> None:
    slow = [connected(service, head(10_000)) for _ in range(20)]
    chunked = connected(service, b"POST /predict HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n")
    started = time.monotonic()
    while time.monotonic() - started < 0.7 * READ_S:
        for connection in slow:
            connection.sendall(b" ")
        chunked.sendall(b"1\r\n \r\n")
        assert service.request("POST", "/predict", BODY).status == 200
        time.sleep(0.05)
    assert all(reply_of(connection).startswith(b"HTTP/1.1 408 ") for connection in [*slow, chunked])


def test_a_body_that_is_declared_too_long_is_refused_before_it_is_sent(service: Running) -> None:
    with connected(service, head(2**40)) as connection:
        reply = reply_of(connection)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 1048576 bytes" in reply


def test_a_flood_of_chunks_is_refused_and_costs_no_memory(service: Running) -> None:
    (worker,) = service.workers()
    before = resident(worker)
    with connected(service, b"POST /predict HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n") as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(b"1\r\n \r\n" * 1000)
        assert reply_of(connection)[9:12] in {b"413", b"408"}  # too many, or too slow on a busy machine
    with connected(service, b"POST /predict HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n") as connection:
        for chunk in (BODY, *[b" " * 2**16] * 16):  # no more than is read: who sends on meets a closed connection
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        reply = reply_of(connection)
    assert reply[9:12] == b"413"
    assert b"request_entity_too_large" in reply
    assert resident(worker) - before < 40 * 2**20


def test_a_body_without_a_length_is_read_and_a_compressed_one_is_inflated_within_the_limit(service: Running) -> None:
    assert service.request("POST", "/predict", iter([BODY[:9], BODY[9:]])).status == 200
    assert service.request("POST", "/predict", gzip.compress(BODY), content_encoding="gzip").status == 200
    bomb = service.request("POST", "/predict", gzip.compress(b" " * 2**25), content_encoding="gzip")
    assert bomb.status == 413
    assert "once inflated" in error_of(bomb)["message"]


@pytest.mark.parametrize(
    "payload",
    [
        b"POST /predict HTTP/1.1\r\nhost: here\r\n" + b"x-filler: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: here\r\n" + b"".join(b"x-%d: a\r\n" % i for i in range(5000)) + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: here\r\n\r\n",
        head(-1) + BODY,
        head("3, 4") + BODY,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"no http at all\r\n\r\n",
    ],
    ids=["long header", "many headers", "long path", "negative length", "two lengths", "TLS", "no HTTP"],
)
def test_what_is_no_proper_request_is_refused_at_once_and_the_service_lives_on(service: Running, payload: bytes) -> None:
    with contextlib.suppress(ConnectionError), connected(service, payload) as connection:
        status = reply_of(connection)[9:12]
        assert status in {b"", b"400", b"414", b"431"}
    assert service.request("POST", "/predict", BODY).status == 200


def test_a_client_that_leaves_before_its_answer_is_counted_and_harms_nobody(service: Running) -> None:
    for _ in range(20):
        connected(service, head(len(BODY)) + BODY[:5]).close()
    assert service.request("POST", "/predict", BODY).status == 200
    time.sleep(0.3)
    assert any('status="499"' in line for line in service.metrics())


@pytest.mark.parametrize("path", ["/%E2%82%AC", "/predict/%FF", "/predict?" + "a&" * 200, "/..%2f..%2fetc", "/predict%20"])
def test_a_strange_path_is_no_fault_of_ours(service: Running, path: str) -> None:
    assert service.request("GET", path).status in {400, 404, 405}
    assert service.request("POST", path, BODY).status in {400, 404}


@pytest.mark.parametrize("value", ["0" * 9 + "1", "1" + "9" * 400, "9" * 5000])
def test_a_timeout_of_many_digits_is_refused(service: Running, value: str) -> None:
    for method, path in (("GET", "/healthz"), ("POST", "/predict")):
        assert service.request(method, path, BODY if method == "POST" else None, x_request_timeout_ms=value).status == 400


def test_an_early_503_keeps_the_clients_id_and_slow_clients_do_not_count(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "slow", TABLE, slow_onnx(TABLE, 1500))
    with running(bundle, "--in-flight", "1", "--wait", "9") as busy:
        busy.wait_until_ready()
        slow = [connected(busy, head(len(BODY)) + BODY[:9]) for _ in range(5)]
        with ThreadPoolExecutor(4) as clients:
            answers = list(
                clients.map(lambda number: busy.request("POST", "/predict", BODY, x_request_id=f"mine-{number}"), range(8))
            )
        for connection in slow:
            connection.close()
    assert {answer.status for answer in answers} == {200, 503}
    assert [answer.headers["x-request-id"] for answer in answers] == [f"mine-{number}" for number in range(8)]


def test_bodies_together_have_a_limit(table_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(create_app(Bundle(table_bundle), Settings(limits=Limits(body_bytes=1000))))
    request = Request("POST", "/predict", "", lambda _: None, b"")
    monkeypatch.setattr("serving.gate._MOST_HELD", 3000)
    for _ in range(3):
        gate._hold(request, 1000)
    with pytest.raises(Overloaded, match="too many large requests"):
        gate._hold(request, 1)
    assert request.held == 3000


PATHS: list[tuple[str, str, bytes | None]] = [
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/info", None),
    ("GET", "/ping", None),
    ("GET", "/version", None),
    ("GET", "/v2", None),
    ("GET", "/v2/models/tiny", None),
    ("GET", "/v2/models/tiny/versions/1/ready", None),
    ("GET", "/v2/models/other", None),
    ("GET", "/v1/models/tiny", None),
    ("GET", "/nowhere", None),
    ("GET", "/predict", None),
    ("PUT", "/predict", b"{}"),
    ("POST", "/nowhere", b"{}"),
    ("POST", "/admin/reload", b""),
    ("POST", "/predict", BODY),
    ("POST", "/predict", b"{"),
    ("POST", "/predict/", BODY),
    ("POST", "/predict?top_k=1", BODY),
    ("POST", "/predict?top_k=0", BODY),
    ("POST", "/invocations", b"{}"),
    ("POST", "/invocations", BODY),
    ("POST", "/endpoints/any/invocations", BODY),
    ("POST", "/v1/models/tiny:predict", b'{"instances": 3}'),
    ("POST", "/v1/models/other:predict", BODY),
    ("POST", "/v2/models/tiny/infer", b"[]"),
    ("POST", "/v2/models/tiny/versions/2/infer", BODY),
    ("POST", "/v2/repository/index", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), PATHS, ids=lambda value: str(value)[:40])
def test_the_gate_and_plain_flask_give_the_same_answer(
    service: Running, table_bundle: Path, method: str, path: str, body: bytes | None
) -> None:
    headers: dict[str, Any] = {"x-request-id": "the-same", "content-type": "application/json"}
    expected = create_app(Bundle(table_bundle)).test_client().open(path, method=method, data=body, headers=headers)
    found = service.request(method, path, body, x_request_id="the-same", content_type="application/json")
    assert (found.status, found.body) == (expected.status_code, expected.data)
    ours = {name.lower() for name in found.headers} - {"date", "server", "content-length"}
    assert ours == {name.lower() for name, _ in expected.headers} - {"content-length"}
