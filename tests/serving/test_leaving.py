"""Stopping and dying: nobody's request is lost when the service stops, and the service outlives a worker."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving.conftest import TABLE, make_bundle, rows_of
from tests.serving.server import LIMIT_S, Running, running
from tests.serving.slow_model import slow_onnx

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
            closed = False
            while not closed:  # clients that the balancer has not reached yet; each worker hears of it within 0.1 s
                late = service.request("POST", "/predict", BODY)
                assert late.status == 200
                assert time.monotonic() - told < grace
                closed = late.headers["connection"] == "close"
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


def test_a_worker_that_dies_twice_in_a_moment_is_replaced_twice(table_bundle: Path) -> None:
    with running(table_bundle) as service:
        for _ in range(2):
            service.wait_until_ready()
            (worker,) = service.workers()
            os.kill(worker, signal.SIGKILL)
            deadline = time.monotonic() + LIMIT_S
            while worker in service.workers():
                assert time.monotonic() < deadline
        service.wait_until_ready()
        assert service.request("POST", "/predict", BODY).status == 200


def test_workers_that_never_get_to_work_end_the_service_with_exit_code_1(own_bundle: Path) -> None:
    with running(own_bundle) as service:
        service.wait_until_ready()
        shutil.rmtree(own_bundle)
        os.kill(service.workers()[0], signal.SIGKILL)
        assert service.process.wait(LIMIT_S) == 1


def test_sigterm_to_the_whole_group_keeps_the_grace_time(table_bundle: Path) -> None:
    with running(table_bundle, "--grace", "1") as service:
        service.wait_until_ready()
        os.killpg(service.process.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert service.request("GET", "/readyz").status == 503
        assert service.request("POST", "/predict", BODY).status == 200
        assert service.process.wait(LIMIT_S) == 0


def test_a_shared_folder_that_was_cleaned_away_does_not_keep_the_service_from_ending(
    table_bundle: Path, tmp_path: Path
) -> None:
    with running(table_bundle, "--grace", "0.5", TMPDIR=str(tmp_path)) as service:
        service.wait_until_ready()
        (shared,) = tmp_path.glob("slipway-*")
        shutil.rmtree(shared)
        assert service.request("POST", "/predict", BODY).status == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(LIMIT_S) == 0


def wait_for_the_end_of(worker: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    with contextlib.suppress(FileNotFoundError):
        while "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_workers_end_with_a_parent_that_was_killed_and_answer_what_they_have(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "slow", TABLE, slow_onnx(TABLE, 3000))
    body = json.dumps({"inputs": rows_of(TABLE, 8).tolist()}).encode()
    with running(bundle) as service:
        service.wait_until_ready()
        (worker,) = service.workers()
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(service.request, "POST", "/predict", body)
            time.sleep(0.1)
            service.process.kill()
            assert asked.result().status == 200
        wait_for_the_end_of(worker)


def test_a_worker_whose_parent_dies_while_it_loads_ends_too(torchscript_bundle: Path) -> None:
    with running(torchscript_bundle) as service:
        assert service.process.stdout is not None
        service.process.stdout.readline()
        deadline = time.monotonic() + LIMIT_S
        while not service.workers():
            assert time.monotonic() < deadline
        (worker,) = service.workers()
        service.process.kill()
        wait_for_the_end_of(worker)
