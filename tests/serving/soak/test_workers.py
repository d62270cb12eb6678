"""Swaps, signals and kills, again and again, while requests come: `make soak`."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from serving.bundle import Bundle
from tests.serving.attack import ask, watched
from tests.serving.conftest import TABLE, make_bundle, rows_of
from tests.serving.server import LIMIT_S, Running, resident
from tests.serving.soak.conftest import SHARE, Note, clients
from tests.serving.test_leaving import Load as Balanced
from tests.serving.test_swap import ADMIN, Site, point

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

MB = 2**20
BODY = json.dumps({"inputs": rows_of(TABLE, 1).tolist()})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("soak") / "bundle", TABLE)


def test_swaps_at_full_load_lose_no_request(tmp_path: Path, note: Note) -> None:
    site, swaps, sizes = Site(tmp_path), max(6, int(50 * SHARE)), []
    with watched(site.pointer, "--workers", "2", SLIPWAY_ADMIN_KEY="admin") as service:
        started = time.monotonic()
        with clients(service.port, "closed", clients=8, body=BODY, wait=True) as load:
            for number in range(swaps):
                swap(site, service, number)
                sizes.append(sum(resident(worker) for worker in service.workers()) / MB)
            found = load.result()
    note(f"{swaps} swaps, 2 workers: requests", f"{sum(found['statuses'].values()):,}", f"all 200, p99 {found['p99']:.1f} ms")
    note(f"{swaps} swaps: memory since the tenth", f"{sizes[-1] - sizes[min(9, swaps - 2)]:.1f} MB", "< 30 MB")
    note(f"{swaps} swaps: a swap took", f"{(time.monotonic() - started) / swaps:.2f} s", "")
    assert set(found["statuses"]) == {"200"}, found
    assert set(found["digests"]) == set(site.digests)
    assert sizes[-1] - sizes[min(9, swaps - 2)] < 30


def swap(site: Site, service: Running, number: int) -> None:
    """Order the other bundle, and hear that all workers serve it."""
    wanted = (number + 1) % 2
    point(site.pointer, (site.one, site.two)[wanted])
    answer = service.request("POST", "/admin/reload", authorization=ADMIN)
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["digest"] == site.digests[wanted]


def test_sigterm_under_load_fails_nobodys_request(bundle: Path, note: Note) -> None:
    cycles, answered, failed = max(3, int(20 * SHARE)), 0, [""][:0]
    for _ in range(cycles):
        with watched(bundle, "--grace", "0.6", "--workers", "2") as service, Balanced(service, clients=8) as load:
            time.sleep(random.uniform(0.2, 0.8))
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(LIMIT_S) == 0
            while load.ready:
                time.sleep(0.01)
        answered += load.answered
        failed += load.failed
    note(f"SIGTERM under load, {cycles} times: answered", f"{answered:,}", f"{len(failed)} failed; 0")
    assert failed == []


def test_workers_killed_every_second_are_replaced_and_the_rest_is_answered(bundle: Path, note: Note) -> None:
    seconds = max(4, int(20 * SHARE))
    with watched(bundle, "--workers", "2") as service:
        killed = 0
        with clients(service.port, "closed", clients=4, body=BODY, wait=True) as load:
            for _ in range(seconds):
                time.sleep(1)
                if len(alive := service.workers()) == 2:  # never the last one
                    os.kill(random.choice(alive), signal.SIGKILL)
                    killed += 1
            found = load.result()
        settled(service)
        assert ask(service, "/predict", BODY.encode()).status == 200
        assert service.stop(signal.SIGTERM)[0] == 0
    lost = sum(count for status, count in found["statuses"].items() if status != "200")
    note(f"{killed} workers killed: answered", f"{found['statuses']['200']:,}", f"{lost} lost with their worker")
    assert killed >= seconds / 3
    assert {"200"} <= set(found["statuses"]) <= {"200", "IncompleteReadError", "ConnectionResetError", "ConnectionRefusedError"}
    assert lost <= 4 * killed  # what was under way


def test_a_worker_that_starts_during_a_swap_ends_up_with_the_model_of_all(tmp_path: Path, note: Note) -> None:
    site, rounds, wrong = Site(tmp_path), max(4, int(15 * SHARE)), [""][:0]
    with watched(site.pointer, "--workers", "2", SLIPWAY_ADMIN_KEY="admin") as service:
        for number in range(rounds):
            os.kill(random.choice(service.workers()), signal.SIGKILL)
            time.sleep(random.uniform(0.1, 0.6))  # a start takes about as long
            point(site.pointer, (site.two, site.one)[number % 2])
            deadline = time.monotonic() + LIMIT_S
            while True:  # the worker that is asked may be the one that was killed
                try:
                    answer = service.request("POST", "/admin/reload", authorization=ADMIN)
                    break
                except OSError:
                    assert time.monotonic() < deadline
            assert answer.status == 200, answer.body
            settled(service)
            time.sleep(0.3)
            for _ in range(20):  # a connection each, so that both workers are met
                reply = ask(service, "/predict", BODY.encode())
                if reply.status != 200 or reply.headers["x-model-digest"] != json.loads(answer.body)["digest"]:
                    wrong.append(f"round {number}: {reply.status} of {reply.headers.get('x-model-digest', 'none')[:12]}")
    note(f"{rounds} kills in the middle of a swap", f"{len(wrong)} wrong", "0; of 20 requests after each")
    assert not wrong, wrong[:5]
    assert {Bundle(site.one).digest, Bundle(site.two).digest} == set(site.digests)


def settled(service: Running) -> None:
    """Wait until there are two workers, and both answer."""
    deadline = time.monotonic() + LIMIT_S
    good = 0
    while good < 20:
        assert time.monotonic() < deadline, "the workers did not come back"
        try:
            good = good + 1 if len(service.workers()) == 2 and service.request("GET", "/healthz").status == 200 else 0
        except OSError:
            good = 0
        time.sleep(0.02)
