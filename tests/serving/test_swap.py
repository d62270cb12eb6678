"""Another model without a restart: proven before it answers, refused when it is not fit, and back again in one call."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from serving.bundle import Bundle, Golden
from serving.schema import Schema
from tests.serving.conftest import REGRESSION, TABLE, golden_of, linear_onnx, make_bundle, rows_of
from tests.serving.server import LIMIT_S, Answer, Running, resident, running

BODY = json.dumps({"inputs": rows_of(TABLE, 1).tolist()}).encode()
ADMIN = "Bearer admin"


def other_bundle(folder: Path, schema: Schema = TABLE, golden: Golden | None = None, *, version: str = "1") -> Path:
    """A bundle whose artifact has other bytes and the same answers: a producer's name is in the file."""
    import onnx

    model = onnx.load_from_string(linear_onnx(schema))
    model.producer_name = folder.name
    return make_bundle(folder, schema, model.SerializeToString(), golden=golden, version=version)


def point(pointer: Path, bundle: Path) -> None:
    """Move a link in one step, as a deployment does."""
    fresh = pointer.with_name("fresh")
    fresh.symlink_to(bundle)
    fresh.replace(pointer)


def answered_by(answer: Answer) -> str:
    digest: str = json.loads(answer.body)["model"]["digest"]
    assert answer.headers["x-model-digest"] == digest
    return digest


def wait_for(service: Running, digest: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while answered_by(service.request("POST", "/predict", BODY)) != digest:
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Site:
    """A pointer to one of two bundles, and a service of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.one, self.two = make_bundle(folder / "one", TABLE), other_bundle(folder / "two")
        self.pointer = folder / "current"
        self.pointer.symlink_to(self.one)
        self.digests = [Bundle(bundle).digest for bundle in (self.one, self.two)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def service(site: Site) -> Iterator[Running]:
    with running(site.pointer, "--watch", "0.2", SLIPWAY_ADMIN_KEY="admin") as started:
        started.wait_until_ready()
        yield started


def test_a_signal_a_moved_pointer_and_a_call_each_swap_and_one_call_goes_back(site: Site, service: Running) -> None:
    first, second = site.digests
    point(site.pointer, site.two)
    wait_for(service, second)  # the pointer is watched
    back = service.request("POST", "/admin/rollback", authorization=ADMIN)
    assert (back.status, json.loads(back.body)["digest"]) == (200, first)
    service.process.send_signal(signal.SIGHUP)
    wait_for(service, second)
    point(site.pointer, site.one)
    again = service.request("POST", "/admin/reload", authorization=ADMIN)
    assert (again.status, json.loads(again.body)["digest"]) == (200, first)
    wait_for(service, first)
    assert any(line.startswith('slipway_swaps_total{result="done"}') for line in service.metrics())


def corrupted(folder: Path) -> Path:
    bundle = other_bundle(folder)
    (bundle / "model.onnx").write_bytes(b"garbage")
    return bundle


def wrong(folder: Path) -> Path:
    """Whole, sealed, and with golden answers that its artifact does not give."""
    golden = golden_of(TABLE)
    outputs = (np.asarray(golden.outputs)[:, ::-1]).tolist()
    return other_bundle(folder, golden=msgspec.structs.replace(golden, outputs=outputs))


def foreign(folder: Path) -> Path:
    return other_bundle(folder, REGRESSION)


def with_a_stranger(folder: Path) -> Path:
    bundle = other_bundle(folder)
    (bundle / "extra.pkl").write_bytes(b"\x80\x04.")
    return bundle


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (corrupted, "the file changed after it was written"),
        (wrong, "the evaluated model gave"),
        (foreign, "clients would break: task of the new bundle: regression"),
        (with_a_stranger, "not listed in bundle.json"),
    ],
)
def test_a_bundle_that_is_not_fit_is_refused_and_the_old_one_answers_on(
    site: Site, service: Running, make: object, reason: str
) -> None:
    assert callable(make)
    bad = make(site.folder / "bad")
    service.process.send_signal(signal.SIGSTOP)  # so that the watcher does not come first
    point(site.pointer, bad)
    service.process.send_signal(signal.SIGCONT)
    answer = service.request("POST", "/admin/reload", authorization=ADMIN)
    assert answer.status == 409
    assert reason in json.loads(answer.body)["error"]["message"]
    assert str(site.folder) not in answer.body.decode()
    assert answered_by(service.request("POST", "/predict", BODY)) == site.digests[0]
    assert service.request("GET", "/readyz").status == 200
    deadline = time.monotonic() + LIMIT_S
    while reason not in (json.loads(service.request("GET", "/info").body)["swap_refused"] or ""):  # and people can see why
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert any(line.startswith('slipway_swaps_total{result="refused"}') for line in service.metrics())
    point(site.pointer, site.two)  # and the next good one is taken
    wait_for(service, site.digests[1])


def test_no_key_and_a_wrong_key_swap_nothing_and_without_a_key_there_is_nothing(site: Site, service: Running) -> None:
    assert service.request("POST", "/admin/reload").status == 401
    assert service.request("POST", "/admin/rollback", authorization="Bearer guess").status == 401
    early = service.request("POST", "/admin/rollback", authorization=ADMIN)
    assert early.status == 409
    assert "nothing was served before" in json.loads(early.body)["error"]["message"]


def test_50_swaps_at_full_load_lose_no_request_and_keep_no_memory(site: Site) -> None:
    with running(site.pointer, "--workers", "2", SLIPWAY_ADMIN_KEY="admin") as service:
        service.wait_until_ready()
        failed: list[str] = []
        seen: set[str] = set()
        stop = threading.Event()

        def client() -> None:
            while not stop.is_set():
                try:
                    answer = service.request("POST", "/predict", BODY)
                    if answer.status != 200:
                        failed.append(f"{answer.status} {answer.body[:200]!r}")
                    seen.add(answered_by(answer))
                except OSError as error:
                    failed.append(repr(error))

        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        sizes = []
        for number in range(50):
            bundle = (site.two, site.one)[number % 2]
            point(site.pointer, bundle)
            answer = service.request("POST", "/admin/reload", authorization=ADMIN)
            assert answer.status == 200, answer.body
            assert json.loads(answer.body)["digest"] == Bundle(bundle).digest
            sizes.append(sum(resident(worker) for worker in service.workers()))
        stop.set()
        for thread in threads:
            thread.join(LIMIT_S)
        assert failed == []
        assert seen == set(site.digests)
        assert sizes[-1] - sizes[9] < 30 * 2**20


def test_a_worker_that_starts_after_a_swap_serves_what_the_others_serve(site: Site) -> None:
    with running(site.pointer, SLIPWAY_ADMIN_KEY="admin") as service:
        service.wait_until_ready()
        point(site.pointer, site.two)
        assert service.request("POST", "/admin/reload", authorization=ADMIN).status == 200
        point(site.pointer, site.one)  # not ordered
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + LIMIT_S
        while service.workers() in ([worker], []):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        service.wait_until_ready()
        assert answered_by(service.request("POST", "/predict", BODY)) == site.digests[1]


def one_row_only(folder: Path) -> Path:
    """A model that raises on two rows: a fault that no error of ours foresees."""
    import onnx

    model = onnx.load_from_string(linear_onnx(TABLE))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return make_bundle(folder, TABLE, model.SerializeToString())


def test_a_model_that_raises_is_refused_once_and_said_so(site: Site, service: Running) -> None:
    point(site.pointer, one_row_only(site.folder / "bad"))
    answer = service.request("POST", "/admin/reload", authorization=ADMIN)
    assert answer.status == 409
    assert "the model cannot be run" in json.loads(answer.body)["error"]["message"]
    assert answered_by(service.request("POST", "/predict", BODY)) == site.digests[0]
    assert service.request("GET", "/readyz").status == 200


def test_two_workers_serve_the_same_whatever_comes_between(site: Site) -> None:
    with running(site.pointer, "--workers", "2", SLIPWAY_ADMIN_KEY="admin") as service:
        service.wait_for_all_workers()
        stopped = service.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        point(site.pointer, site.two)
        service.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        point(site.pointer, wrong(site.folder / "bad"))
        service.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        os.kill(stopped, signal.SIGCONT)
        wait_for(service, site.digests[1])
        time.sleep(2)
        assert {answered_by(service.request("POST", "/predict", BODY)) for _ in range(30)} == {site.digests[1]}


def test_a_bundle_that_was_overwritten_cannot_be_gone_back_to(site: Site, service: Running) -> None:
    point(site.pointer, site.two)
    wait_for(service, site.digests[1])
    shutil.rmtree(site.one)
    other_bundle(site.one)
    answer = service.request("POST", "/admin/rollback", authorization=ADMIN)
    assert answer.status == 409
    assert "not the bundle that was served" in json.loads(answer.body)["error"]["message"]
