"""Stopping and dying: nobody's request is lost when the service stops, and the service outlives a worker."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.serving.conftest import TABLE, rows_of
from tests.serving.server import LIMIT_S, Running, running

BODY = json.dumps({"inputs": rows_of(TABLE, 1).tolist()}).encode()


class Load:
    """Clients behind a balancer: it asks /readyz every 50 ms, and they send nothing once it says no."""

    def __init__(self, service: Running, clients: int = 4) -> None:
        self.service = service
        self.ready = True
        self.answered, self.failed = 0, [""][:0]
        self.unready_at: float | None = None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]
        self._threads.append(threading.Thread(target=self._balancer))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LIMIT_S)

    def _balancer(self) -> None:
        while self.ready and not self._stop.wait(0.05):
            if self.service.request("GET", "/readyz").status != 200:
                self.unready_at = time.monotonic()
                self.ready = False

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=LIMIT_S)
        while self.ready and not self._stop.is_set():
            try:
                connection.request("POST", "/predict", BODY)
                response = connection.getresponse()
                response.read()  # http.client connects anew after `connection: close`
                if response.status != 200:
                    self.failed.append(f"status {response.status}")
                self.answered += 1
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
        connection.close()


@pytest.mark.parametrize("grace", [1.0, 2.5])
def test_sigterm_under_load_fails_no_request_and_the_grace_time_is_what_was_asked(table_bundle: Path, grace: float) -> None:
    with running(table_bundle, "--grace", str(grace), "--workers", "2") as service:
        service.wait_until_ready()
        with Load(service) as load:
            time.sleep(0.5)
            told = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            while load.ready:
                assert time.monotonic() - told < grace
                time.sleep(0.01)
            late = service.request("POST", "/predict", BODY)  # of a client that the balancer has not reached yet
            assert late.status == 200
            assert late.headers["connection"] == "close"
            service.process.wait(LIMIT_S)
            seconds = time.monotonic() - told
        assert load.failed == []
        assert load.answered > 20
        assert service.process.returncode == 0
        assert grace <= seconds < grace + 2


def test_a_killed_worker_is_replaced_while_the_other_answers(table_bundle: Path) -> None:
    with running(table_bundle, "--workers", "2") as service:
        service.wait_for_all_workers()
        deadline = time.monotonic() + LIMIT_S
        victim = service.workers()[0]
        os.kill(victim, signal.SIGKILL)
        answered = 0
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                answered += service.request("POST", "/predict", BODY).status == 200
            if victim not in service.workers() and len(service.workers()) == 2:
                break
        assert answered > 0
        assert len(service.workers()) == 2
        assert service.stop(signal.SIGTERM)[0] == 0


def test_workers_end_with_a_parent_that_was_killed(table_bundle: Path) -> None:
    with running(table_bundle) as service:
        service.wait_until_ready()
        (worker,) = service.workers()
        service.process.kill()
        deadline = time.monotonic() + LIMIT_S
        while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
