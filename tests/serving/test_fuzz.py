"""Random requests, most of them a change away from a good one: whatever comes, the reply is ours, and the service lives on."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serving.attack import JSON, Raw, ask, exchange, head_of, refusal_of, strictly, watched
from tests.serving.conftest import PICTURE, TABLE, make_bundle
from tests.serving.mutations import GOOD, GOOD_BYTES, NAMES, PICTURES, ROWS, TENSOR, V1, V2, WORDS, damaged, documents
from tests.serving.server import Running, resident

MB = 2**20
ROUTES = [*sorted({path for path, _ in GOOD}), "/admin/reload", "/admin/rollback", "/", "/metrics", "/nowhere"]

# The same examples each time, so that a failure in CI is the commit's; `make soak` draws others, and more.
few = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(path: str, reply: Raw, body: bytes) -> None:
    """A reply is an answer or a refusal in its path's dialect, and never the service's own fault."""
    assert reply.status == 200 or 400 <= reply.status < 500 or reply.status in {503, 504}, (path, body[:300], reply)
    if reply.status != 200:
        refusal_of(path, reply)
    elif reply.headers["content-type"] == JSON:
        strictly(reply.body)
    assert reply.headers["x-request-id"]
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with watched(make_bundle(tmp_path_factory.mktemp("fuzz") / "bundle", TABLE), "--read", "2") as started:
        yield from unharmed(started)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with watched(make_bundle(tmp_path_factory.mktemp("pictured") / "bundle", PICTURE)) as started:
        yield from unharmed(started)


def unharmed(service: Running) -> Iterator[Running]:
    """Whatever the tests of a module sent, it is the same worker in the end, and no larger."""
    before, (worker,) = resident(service.workers()[0]), service.workers()
    yield service
    assert service.workers() == [worker]
    assert resident(worker) - before < 50 * MB
    assert ask(service, "/predict", b"{").status == 400
    time.sleep(0.6)  # the ledger's turn
    assert not [line for line in service.metrics() if 'status="500"' in line]


@pytest.mark.parametrize(("path", "value"), GOOD, ids=[f"{path} {sorted(value)}" for path, value in GOOD])
def test_what_the_changes_start_from_is_good(service: Running, path: str, value: Any) -> None:
    assert ask(service, path, json.dumps(value).encode()).status == 200


@pytest.mark.parametrize(("path", "headers", "body"), GOOD_BYTES, ids=lambda value: str(value)[:40])
def test_what_the_damage_starts_from_is_good(service: Running, path: str, headers: dict[str, str], body: bytes) -> None:
    reply = ask(service, path, body, headers)
    assert reply.status == 200, reply


@pytest.mark.parametrize(("path", "headers", "body"), PICTURES, ids=["picture", "form"])
def test_the_pictures_that_damage_starts_from_are_good(
    pictured: Running, path: str, headers: dict[str, str], body: bytes
) -> None:
    reply = ask(pictured, path, body, headers)
    assert reply.status == 200, reply


@given(request=documents())
@settings(few, max_examples=400)
def test_no_document_is_the_services_fault(service: Running, request: tuple[str, bytes]) -> None:
    path, body = request
    check(path, ask(service, path, body), body)


@given(data=st.data())
@few
def test_no_damaged_json_is_the_services_fault(service: Running, data: st.DataObject) -> None:
    path, value = data.draw(st.sampled_from(GOOD))
    body = data.draw(damaged(json.dumps(value, ensure_ascii=False).encode()))
    check(path, ask(service, path, body), body)


@given(data=st.data())
@settings(few, max_examples=300)
def test_no_damaged_array_table_or_archive_is_the_services_fault(service: Running, data: st.DataObject) -> None:
    path, headers, body = data.draw(st.sampled_from(GOOD_BYTES))
    body = data.draw(damaged(body))
    check(path, ask(service, path, body, headers), body)


@given(data=st.data())
@few
def test_no_damaged_picture_or_form_is_the_services_fault(pictured: Running, data: st.DataObject) -> None:
    path, headers, body = data.draw(st.sampled_from(PICTURES))
    body = data.draw(damaged(body))
    check(path, ask(pictured, path, body, headers), body)


@given(
    path=st.sampled_from(ROUTES), body=st.binary(max_size=300), headers=st.sampled_from([None, *(h for _, h, _ in GOOD_BYTES)])
)
@few
def test_no_bytes_are_the_services_fault(service: Running, path: str, body: bytes, headers: dict[str, str] | None) -> None:
    reply = ask(service, path, body, headers)
    assert reply.status < 500 or reply.status in {503, 504}, reply
    assert b"Traceback" not in reply.body


@given(
    path=st.sampled_from([*ROUTES, "/v2/models/tiny", "/info"]),
    headers=st.dictionaries(st.sampled_from(NAMES), WORDS, min_size=1, max_size=3),
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "OPTIONS", "DELETE", "BREW"]),
)
@settings(few, max_examples=300)
def test_no_header_is_the_services_fault(service: Running, path: str, headers: dict[str, bytes], method: str) -> None:
    body = json.dumps({"inputs": ROWS}).encode()
    length = None if {"transfer-encoding", "content-length"} & headers.keys() else len(body)
    reply = exchange(service, head_of(path, length, headers, method) + body + b"\r\n0\r\n\r\n")
    assert reply.status < 500 or reply.status in {503, 504}, (method, path, headers, reply)


@pytest.mark.parametrize("digits", ["9" * 400, "9" * 5000])
@pytest.mark.parametrize("name", ["x-request-timeout-ms", "inference-header-content-length"])
def test_numbers_of_any_length_in_headers_are_400(service: Running, name: str, digits: str) -> None:
    body = json.dumps({"inputs": [TENSOR]}).encode()
    for value in (digits, "0" * 9 + "1" + digits):
        reply = ask(service, V2, body, {name: value})
        assert reply.status == 400, reply
        assert name in refusal_of(V2, reply)[0].lower()


PARTS = st.text(st.sampled_from("abz019/:.%-_~ü€😀\0?&=+;"), max_size=12) | st.sampled_from(
    ["%FF", "%E2%82%AC", "%00", "..%2f", "//"]
)


@given(start=st.sampled_from(["/", *ROUTES, "/v2/models/", "/static/", "/endpoints/"]), end=st.lists(PARTS, max_size=4))
@settings(few, max_examples=200)
def test_no_path_and_no_query_is_the_services_fault(service: Running, start: str, end: list[str]) -> None:
    path = start + quote("".join(end), safe="%/:?&=+;.")
    for method in ("GET", "POST"):
        reply = ask(service, path, b"{}", method=method)
        assert reply.status < 500 or reply.status in {503, 504}, (method, path, reply)


@pytest.mark.parametrize("count", [2, 100, 101, 5000])
@pytest.mark.parametrize("path", ["/predict", "/invocations", V1, V2, "/info"])
def test_many_parameters_of_a_query_are_nobodys_fault(service: Running, path: str, count: int) -> None:
    method = "GET" if path == "/info" else "POST"
    reply = ask(
        service, path + "?" + "&".join(f"a{index}=1" for index in range(count)), json.dumps(GOOD[0][1]).encode(), method=method
    )
    assert reply.status < 500, reply


def schemathesis(port: int, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run its command line against a service; in a folder of its own, since it writes there."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color"]
    # 504 is what a deadline of a millisecond, of its own invention, deserves; 503 is the answer to too many requests.
    (folder / "schemathesis.toml").write_text('[checks.not_a_server_error]\nexpected-statuses = ["2xx", "4xx", "503", "504"]\n')
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    return subprocess.run(
        [*command, "--checks", checks, "--suppress-health-check", "all", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.parametrize("kind", ["table", "picture"])
def test_schemathesis_finds_the_service_to_be_what_openapi_json_says(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    running: Running = request.getfixturevalue({"table": "service", "picture": "pictured"}[kind])
    found = schemathesis(
        running.port, tmp_path, "--max-examples", "8", "--generation-deterministic", "--phases", "examples,fuzzing"
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-1000:]
    swept = re.search(r"Operations: +(\d+)", found.stdout)
    assert swept, found.stdout
    assert int(swept[1]) >= 20
