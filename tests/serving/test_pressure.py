"""More than can be answered, and less time than it takes: refused early, with a reason, and what was accepted is answered."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.conftest import TABLE, make_bundle, rows_of
from tests.serving.server import LIMIT_S, Running, running
from tests.serving.slow_model import slow_onnx

BODY = json.dumps({"inputs": rows_of(TABLE, 8).tolist()}).encode()


@pytest.fixture(scope="module")
def slow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("slow") / "bundle", TABLE, slow_onnx(TABLE, 400))


@pytest.fixture(scope="module")
def service(slow_bundle: Path) -> Iterator[Running]:
    with running(slow_bundle, "--wait", "0.3") as started:
        started.wait_until_ready()
        yield started


def hammered(service: Running, clients: int, seconds: float, **headers: str) -> tuple[Counter[int], float, list[float]]:
    """Return replies by status, replies 200 for each second, and the seconds that those took."""
    statuses: Counter[int] = Counter()
    times: list[float] = []
    until = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=LIMIT_S)
        while time.monotonic() < until:
            started = time.monotonic()
            connection.request("POST", "/predict", BODY, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
            if response.status == 200:
                times.append(time.monotonic() - started)
            else:
                assert response.status in {503, 504}
                assert response.status == 504 or int(response.headers["retry-after"]) >= 1
                time.sleep(0.05)  # less patient than Retry-After asks for
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, statuses[200] / seconds, times


def test_under_three_times_its_capacity_the_service_goes_on_answering_and_refuses_the_rest_early(service: Running) -> None:
    _, alone, times = hammered(service, 2, 1.5)
    # As many clients as keep three times the capacity waiting.
    clients = max(12, round(3 * alone * (0.3 + sum(times) / len(times))))
    statuses, goodput, times = hammered(service, min(clients, 150), 3.0)
    assert statuses[503] > 0
    assert set(statuses) == {200, 503}
    assert goodput > 0.7 * alone  # docs/serving.md has what was measured on a quiet machine
    assert sorted(times)[len(times) // 2] < 2.0
    assert any('slipway_rejections_total{reason="overloaded"}' in line for line in service.metrics())
    assert service.request("POST", "/predict", BODY).status == 200  # and is itself again


def test_a_deadline_that_cannot_be_met_is_504_at_once_and_costs_no_computing(service: Running) -> None:
    before = time.monotonic()
    answer = service.request("POST", "/predict", BODY, x_request_timeout_ms="1")
    assert answer.status == 504
    assert time.monotonic() - before < 1
    assert json.loads(answer.body)["error"]["code"] == "deadline_exceeded"
    assert service.request("POST", "/predict", BODY, x_request_timeout_ms="20000").status == 200


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1e3", "99999999999999999999"])
def test_a_timeout_that_is_none_is_refused_by_name(service: Running, value: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=LIMIT_S)
    connection.putrequest("POST", "/predict")
    connection.putheader("x-request-timeout-ms", value.encode())
    connection.putheader("content-length", str(len(BODY)))
    connection.endheaders(BODY)
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    connection.close()
    assert response.status == 400
    assert error["field"] == "X-Request-Timeout-Ms"


def test_health_answers_while_the_model_is_busy(service: Running) -> None:
    busy = threading.Thread(target=hammered, args=(service, 8, 1.5))
    busy.start()
    time.sleep(0.3)
    times = []
    while busy.is_alive():
        started = time.monotonic()
        assert service.request("GET", "/healthz").status == 200
        times.append(time.monotonic() - started)
    busy.join()
    assert sorted(times)[int(0.9 * len(times))] < 0.25


def test_batching_computes_together_what_comes_together(slow_bundle: Path) -> None:
    with running(slow_bundle, "--batch-rows", "32", "--wait", "5") as service:
        service.wait_until_ready()
        statuses, _, _ = hammered(service, 6, 1.0)
        assert set(statuses) == {200}
        time.sleep(0.5)
        assert counted(service, "sum") / counted(service, "count") > 8  # of the 8 rows of each request


def test_a_small_model_computes_together_what_comes_in_one_turn_and_everyone_gets_his_own_answer(table_bundle: Path) -> None:
    with running(table_bundle, "--batch-rows", "32") as service:
        service.wait_until_ready()
        rows = rows_of(TABLE, 12).tolist()
        bodies = [json.dumps({"inputs": [row]}).encode() for row in rows]
        alone = [json.loads(service.request("POST", "/predict", body).body)["predictions"][0] for body in bodies]
        wrong: list[int] = []

        def client(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=LIMIT_S)
            for _ in range(150):
                connection.request("POST", "/predict", bodies[number])
                found = json.loads(connection.getresponse().read())["predictions"][0]
                if found["label"] != alone[number]["label"] or abs(found["score"] - alone[number]["score"]) > 1e-6:
                    wrong.append(number)
            connection.close()

        threads = [threading.Thread(target=client, args=(number,)) for number in range(len(rows))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        time.sleep(0.5)
        assert counted(service, "sum") == 12 * 150 + 12
        assert counted(service, "count") < counted(service, "sum")


def counted(service: Running, end: str) -> float:
    name = f"slipway_batch_rows_{end}"
    return sum(float(line.rpartition(" ")[2]) for line in service.metrics() if line.startswith(name))
