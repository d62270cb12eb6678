"""The service for minutes on end: `make soak`. Each test is a promise that the short tests make for seconds.

SOAK=0.1 make soak runs a tenth of it.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serving.attack import ask, watched
from tests.serving.conftest import TABLE, make_bundle, rows_of
from tests.serving.mutations import GOOD, GOOD_BYTES, damaged, documents
from tests.serving.server import Running, resident
from tests.serving.slow_model import slow_onnx
from tests.serving.soak.conftest import SHARE, Note, clients
from tests.serving.test_fuzz import check

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

MB = 2**20
BODY = json.dumps({"inputs": rows_of(TABLE, 1).tolist()})
many = settings(
    max_examples=max(50, int(3000 * SHARE)),
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("soak") / "bundle", TABLE)


@pytest.fixture(scope="module")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("slow") / "bundle", TABLE, slow_onnx(TABLE, 400))


@pytest.fixture(scope="module")
def service(bundle: Path) -> Iterator[Running]:
    with watched(bundle) as started:
        yield started


def rate(result: dict[str, Any]) -> float:
    """Replies 200 for each second."""
    return float(result["statuses"].get("200", 0) / result["seconds"])


def test_thousands_of_random_requests_are_never_the_services_fault(service: Running, note: Note) -> None:
    (worker,) = service.workers()
    before, sent = resident(worker), 0

    @given(request=documents())
    @many
    def json_requests(request: tuple[str, bytes]) -> None:
        nonlocal sent
        sent += 1
        check(request[0], ask(service, *request), request[1])

    @given(data=st.data())
    @many
    def others(data: st.DataObject) -> None:
        nonlocal sent
        sent += 1
        good = [
            *GOOD_BYTES,
            *((path, {"content-type": "application/json"}, json.dumps(value).encode()) for path, value in GOOD),
        ]
        path, headers, body = data.draw(st.sampled_from(good))
        body = data.draw(damaged(body))
        check(path, ask(service, path, body, headers), body)

    json_requests()
    others()
    grown = (resident(worker) - before) / MB
    note("fuzz: requests, none the service's fault", f"{sent:,}", "thousands")
    note("fuzz: the worker's memory grew by", f"{grown:.1f} MB", "< 50 MB")
    assert service.workers() == [worker]
    assert grown < 50


@pytest.mark.parametrize("count", [200, 2000])
def test_slow_clients_hold_nobody_up(service: Running, note: Note, count: int) -> None:
    (worker,) = service.workers()
    before, seconds = resident(worker), 60 * SHARE
    with clients(service.port, "closed", clients=1, seconds=min(5, seconds), body=BODY) as alone:
        quiet = alone.result()
    with clients(service.port, "slow", clients=count, seconds=seconds + 3) as slow:
        time.sleep(1 + count / 1000)  # until they are connected
        with clients(service.port, "closed", clients=1, seconds=seconds, body=BODY) as healthy:
            found = healthy.result()
        cut = slow.result()["statuses"]
    grown = (resident(worker) - before) / MB
    note(f"{count} slow clients: p99 of a healthy one", f"{found['p99']:.1f} ms", f"<= 100 ms; {quiet['p99']:.1f} ms alone")
    note(f"{count} slow clients: cut off with 408", f"{cut.get('408', 0):,}", f"memory grew by {grown:.0f} MB")
    assert set(found["statuses"]) == {"200"}, found
    assert found["p99"] <= 100
    assert set(cut) <= {"408"}
    assert grown < 50 + count / 10  # at most 100 kB for each connection


def test_connections_that_say_nothing_make_room_in_time(bundle: Path, note: Note) -> None:
    with watched(bundle, "--idle", "10") as service:
        silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(4200)]  # one worker takes 4096
        try:
            started = time.monotonic()
            assert ask(service, "/predict", BODY.encode()).status == 200
            waited = time.monotonic() - started
        finally:
            for connection in silent:
                connection.close()
    note("4200 silent connections: a healthy one waited", f"{waited:.1f} s", "< 15 s")
    assert waited < 15


def test_requests_as_large_as_may_be_keep_no_probe_waiting(service: Running, note: Note) -> None:
    body = json.dumps({"inputs": [[1, 2, 3]] * 1_300_000})
    worst, until = 0.0, time.monotonic() + max(3, 20 * SHARE)
    large = threading.Thread(target=lambda: [ask(service, "/predict", body.encode()) for _ in range(max(1, int(4 * SHARE)))])
    large.start()
    while large.is_alive() or time.monotonic() < until:
        started = time.monotonic()
        assert service.request("GET", "/healthz").status == 200
        worst = max(worst, time.monotonic() - started)
        time.sleep(0.005)
    large.join()
    note("13 MB of rows at a time: the slowest /healthz", f"{worst:.2f} s", "< 1 s, which is what Kubernetes waits")
    assert worst < 1


def test_goodput_stays_at_its_peak_under_three_times_what_can_be_answered(slow_bundle: Path, note: Note) -> None:
    body = json.dumps({"inputs": rows_of(TABLE, 8).tolist()})
    with watched(slow_bundle, "--wait", "0.3") as service:
        with clients(service.port, "closed", clients=4, seconds=max(3, 15 * SHARE), body=body) as some:
            peak = rate(some.result())
        with clients(service.port, "open", rate=3 * peak, seconds=max(5, 60 * SHARE), body=body) as many_more:
            found = many_more.result()
    offered = sum(found["statuses"].values()) / found["seconds"]
    note("overload: peak", f"{peak:.1f} /s", "")
    note("overload: offered", f"{offered:.1f} /s", f"{offered / peak:.1f} times the peak")
    note("overload: answered", f"{rate(found):.1f} /s", f"{rate(found) / peak:.2f} of the peak; >= 0.9")
    note("overload: p99 of what was answered", f"{found['p99']:.0f} ms", f"statuses {found['statuses']}")
    assert set(found["statuses"]) == {"200", "503"}, found
    assert rate(found) >= 0.9 * peak


def test_memory_does_not_grow_with_the_number_of_requests(bundle: Path, note: Note) -> None:
    total, sizes = max(10_000, int(100_000 * SHARE)), []
    with watched(bundle) as service:
        (worker,) = service.workers()
        for path, body in [("/predict", BODY), ("/v1/models/tiny:predict", BODY), ("/predict", '{"inputs": [[NaN]]}')] * 2:
            with clients(service.port, "closed", clients=8, count=total // 6, body=body, path=path) as some:
                found = some.result()
            assert set(found["statuses"]) == {"400" if "NaN" in body else "200"}, found
            sizes.append(resident(worker) / MB)
        assert service.workers() == [worker]
    note(f"{total:,} requests: memory", f"{sizes[-1]:.0f} MB", f"{sizes[-1] - sizes[2]:+.1f} MB in the second half; < 10 MB")
    assert sizes[-1] - sizes[2] < 10
