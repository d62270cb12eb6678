"""Several workers tell one story: exact sums, whoever is asked, whoever was killed, and no counter ever goes down."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.telemetry import Ledger
from serving.telemetry.snapshots import Snapshots
from serving.telemetry.state import Recent, State, decode, encode
from tests.serving.test_telemetry import DIGEST, entry, samples_of

# A worker that does as it is told on stdin, one word and a number a line.
WORKER = """
import sys, time
from pathlib import Path
from serving.telemetry import Entry, Ledger
ledger = Ledger(shared=Path(sys.argv[1]), log=None)
ledger.gauge("slipway_in_flight", lambda: 3)
ledger.gauge("slipway_ready", lambda: 1, merge="min")
ledger.start()
print("ready", flush=True)
for line in sys.stdin:
    word, number = line.split()
    if word == "record":
        for _ in range(int(number)):
            ledger.record(Entry("predict", 200, "a" * 64, 2, 0, 0, 0, 0.01, 0, 0.02, 2, "id", time.time()))
    print(ledger.text().decode().count(chr(10)) if word == "text" else "done", flush=True)
ledger.close()
"""

ROWS = ("slipway_rows_total", (("model", DIGEST[:12]),))
IN_FLIGHT, WORKERS = ("slipway_in_flight", ()), ("slipway_workers", ())

Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker in `tmp_path`; all that still run are killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", WORKER, str(tmp_path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def heard(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdin is not None
    process.stdin.write(words + "\n")
    process.stdin.flush()
    return heard(process)


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_any_worker_tells_the_sum_and_a_killed_one_leaves_its_counters_but_not_its_gauges(start: Start, tmp_path: Path) -> None:
    workers = [start(), start()]
    assert [heard(worker) for worker in workers] == ["ready", "ready"]
    ledger = Ledger(shared=tmp_path, log=None)
    for worker, number in zip(workers, (100, 250), strict=True):
        tell(worker, f"record {number}")
    ledger.record(entry(rows=2))
    # The workers publish by themselves, from their threads.
    assert until(lambda: samples_of(ledger).get(ROWS) == 702)
    assert (samples_of(ledger)[IN_FLIGHT], samples_of(ledger)[WORKERS]) == (6, 3)
    workers[1].kill()  # not waited for: a zombie is no living worker
    assert until(lambda: samples_of(ledger)[WORKERS] == 2)
    found = samples_of(ledger)
    assert (found[ROWS], found[IN_FLIGHT], found["slipway_ready", ()]) == (702, 3, 1)
    assert ledger.summary()["window"]["rows"] == 702
    # Its snapshot is put with those of the ended; a new worker adds to them.
    ledger._publisher._next_fold = 0
    ledger.text()
    assert len(list(tmp_path.glob("*-*.snapshot"))) == 2
    assert samples_of(ledger)[ROWS] == 702
    again = start()
    assert heard(again) == "ready"
    tell(again, "record 10")
    assert until(lambda: samples_of(ledger)[ROWS] == 722)
    ledger.close()


def test_no_counter_goes_down_whichever_worker_is_asked(tmp_path: Path) -> None:
    ledgers = [Ledger(shared=tmp_path, log=None) for _ in range(3)]
    seen = []
    for number in range(30):
        for each in ledgers:
            each.record(entry())
        seen.append(samples_of(ledgers[number % 3])[ROWS])
        if number % 10 == 9:
            ledgers[number // 10].close()
            ledgers[number // 10] = Ledger(shared=tmp_path, log=None)
    assert seen == sorted(seen)
    for each in ledgers:
        each.text()
    assert samples_of(ledgers[0])[ROWS] == 90
    for each in ledgers:
        each.close()


def test_a_reader_sees_each_ended_worker_once_while_its_snapshot_moves(tmp_path: Path) -> None:
    reader, folder = Snapshots(tmp_path), Snapshots(tmp_path)
    seen: list[float] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.append(reader.read(State())[0].counters.get("n_total", {}).get((), 0.0))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(40):
        gone = Snapshots(tmp_path)
        gone.publish(encode(State(counters={"n_total": {(): 1.0}})))
        gone.close()
        folder.fold(recent=0, drift=0)
    ended.set()
    thread.join()
    assert seen == sorted(seen)
    assert reader.read(State())[0].counters["n_total"][()] == 40
    assert len(list(tmp_path.iterdir())) == 4  # two locks of the living, the ended and their lock
    reader.close()
    folder.close()


def test_a_snapshot_that_was_put_with_the_ended_but_not_deleted_counts_once(tmp_path: Path) -> None:
    gone, living = Snapshots(tmp_path), Snapshots(tmp_path)
    payload = encode(State(counters={"n_total": {(): 5.0}}))
    gone.publish(payload)
    gone.close()
    living.fold(recent=0, drift=0)
    gone._path.write_bytes(payload)  # as if the machine had stopped just before it was deleted
    assert living.read(State())[0].counters["n_total"][()] == 5
    living.fold(recent=0, drift=0)
    assert living.read(State())[0].counters["n_total"][()] == 5
    assert not gone._path.exists()
    living.close()


def test_windows_of_the_ended_end_as_well(tmp_path: Path) -> None:
    gone, living = Snapshots(tmp_path), Snapshots(tmp_path)
    slots = {slot: np.ones(3) for slot in (4, 5, 6)}
    gone.publish(encode(State(drift={"a": dict(slots)}, recent={slot: Recent(counts) for slot, counts in slots.items()})))
    gone.close()
    living.fold(recent=5, drift=6)
    total, _ = living.read(State())
    assert (sorted(total.recent), sorted(total.drift["a"])) == ([5, 6], [6])
    living.close()


def test_a_folder_that_cannot_be_written_costs_sums_over_workers_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = tmp_path / "shared"
    ledger = Ledger(shared=shared, log=None)
    shared.rename(tmp_path / "gone")
    for _ in range(3):
        ledger.record(entry())
        ledger.text()
    found = samples_of(ledger)
    assert found[ROWS] == 3
    assert found["slipway_telemetry_errors_total", (("part", "snapshot"),)] >= 3
    assert len(caplog.records) == 1
    ledger.close()


def test_a_snapshot_is_read_back_as_it_was_written() -> None:
    ledger = Ledger(shared=None, log=None)
    for _ in range(10):
        ledger.record(entry())
    ledger.text()
    state = ledger._state
    again = decode(encode(state))
    assert again.counters == state.counters
    assert again.gauges == state.gauges
    for name, series in state.histograms.items():
        for labels, counts in series.items():
            assert again.histograms[name][labels].tolist() == counts.tolist()
    ledger.close()
