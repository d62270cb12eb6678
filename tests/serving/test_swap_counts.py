"""What is told of a swap: once in the metrics and once in the log, however many workers took part."""

import json
import signal
import threading
import time
from pathlib import Path

import pytest

from serving.bundle import Bundle
from serving.control import Control, Report
from serving.service import Service
from serving.settings import Settings
from tests.serving.server import LIMIT_S, Running, running
from tests.serving.test_swap import ADMIN, Site, corrupted, point, wrong


def counted(service: Running, result: str, number: int) -> None:
    """Wait until so many swaps are told of."""
    deadline = time.monotonic() + LIMIT_S
    while f'slipway_swaps_total{{result="{result}"}} {number}.0' not in service.metrics():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_swap_of_two_workers_is_counted_and_logged_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with running(site.pointer, "--workers", "2", SLIPWAY_ADMIN_KEY="admin") as service:
        service.wait_for_all_workers()
        for bundle in (site.two, site.one):
            point(site.pointer, bundle)
            assert service.request("POST", "/admin/reload", authorization=ADMIN).status == 200
        counted(service, "done", 2)
        point(site.pointer, wrong(site.folder / "wrong"))
        service.process.send_signal(signal.SIGHUP)
        counted(service, "refused", 1)
        point(site.pointer, corrupted(site.folder / "corrupted"))
        assert service.request("POST", "/admin/reload", authorization=ADMIN).status == 409
        counted(service, "refused", 2)
        for _ in range(20):  # of both workers
            assert json.loads(service.request("GET", "/info").body)["swap_refused"]
        counted(service, "done", 2)  # neither the refused ones nor the ways back
        _, output, _ = service.stop(signal.SIGTERM)
    lines = [line for line in output.splitlines() if "swap" in line]
    assert [line.split(": ", 1)[0].rpartition(" ")[2] for line in lines] == ["swapped", "swapped", "refused", "refused"]
    assert "the evaluated model gave" in lines[2]
    assert "the file changed after it was written" in lines[3]


def test_what_became_of_a_swap_is_told_to_one_worker_only(tmp_path: Path) -> None:
    site, shared = Site(tmp_path), tmp_path / "shared"
    shared.mkdir()
    parent, one, other = (Control(shared) for _ in range(3))
    parent.begin(Bundle(site.one))
    parent.settle(parent.order_swap(site.two), followed=True)
    parent.refuse("unfit")
    parent.refuse("unfit")
    assert [one.uncounted(), other.uncounted(), one.uncounted()] == [("done", "refused", "refused"), (), ()]


def test_a_worker_that_tells_what_it_serves_while_it_swaps_has_the_new_model_as_its_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, shared = Site(tmp_path), tmp_path / "shared"
    shared.mkdir()
    service = Service(Bundle(site.one), Settings(shared=shared))
    written, told, go_on = service.control.report, threading.Event(), threading.Event()

    def slowly(report: Report) -> None:
        if threading.current_thread() is first:
            told.set()
            assert go_on.wait(LIMIT_S)
        written(report)

    monkeypatch.setattr(service.control, "report", slowly)
    first, second = threading.Thread(target=service.report), threading.Thread(target=service.follow)
    first.start()
    assert told.wait(LIMIT_S)
    order = Control(shared).order_swap(site.two)
    second.start()
    second.join(0.5)  # it has to wait for the other one
    go_on.set()
    first.join(LIMIT_S)
    second.join(LIMIT_S)
    service.fleet.close()
    assert [(report.generation, report.digest) for report in Control(shared).reports()] == [(order.generation, order.digest)]
