"""The request log is valid JSON lines, bounded, shared by workers, and never in the way."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.telemetry import Ledger, RequestLog
from serving.telemetry.request_log import STDERR
from tests.serving.test_telemetry import DIGEST, entry, value


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_is_a_line_with_its_id_and_times_and_without_its_inputs(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    ledger = Ledger(shared=None, log=RequestLog(path))
    rows = np.zeros((1, 2), np.float32)
    ledger.record(entry(id='x"\n€', at=1_000_000_000.25, inputs=rows, outputs=rows))
    ledger.record(entry(status=400, reason="invalid_input", rows=0, model=""))
    ledger.flush()
    first, second = lines_of(path)
    assert (first["at"], first["id"], first["model"]) == ("2001-09-09T01:46:40.250+00:00", 'x"\n€', DIGEST)
    assert first["ms"] == {"read": 1.0, "decode": 2.0, "queue": 0.0, "compute": 3.0, "encode": 1.0, "total": 7.0}
    assert "inputs" not in first
    assert (second["status"], second["reason"]) == (400, "invalid_input")
    ledger.close()


def test_inputs_are_written_where_asked_for_and_are_few_enough(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path, inputs=True)
    rows = np.array([[1.5, np.nan]], np.float32)
    log.write([entry(inputs=rows, outputs=rows), entry(inputs=np.zeros((10_001, 1), np.float32))])
    first, second = lines_of(path)
    assert first["inputs"] == [[1.5, None]]
    assert "inputs" not in second
    log.close()


def test_a_file_that_is_full_is_renamed_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path, most_bytes=4000, backups=2)
    for number in range(100):
        log.write([entry(id=str(number))])
    files = [path, Path(f"{path}.1"), Path(f"{path}.2")]
    assert sorted(tmp_path.iterdir()) == files
    assert all(0 < file.stat().st_size <= 4000 for file in files)
    ids = [int(line["id"]) for file in reversed(files) for line in lines_of(file)]
    assert ids == list(range(ids[0], 100))
    log.close()


def test_workers_that_share_a_file_lose_no_line_when_it_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    logs = [RequestLog(path, most_bytes=4000, backups=50) for _ in range(3)]

    def write(log: RequestLog, name: str) -> None:
        for number in range(60):
            log.write([entry(id=f"{name}-{number}")])

    threads = [threading.Thread(target=write, args=(log, str(place))) for place, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [line["id"] for file in tmp_path.iterdir() for line in lines_of(file)]
    assert sorted(ids) == sorted(f"{place}-{number}" for place in range(3) for number in range(60))
    assert len(list(tmp_path.iterdir())) > 5
    for log in logs:
        log.close()


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path)
    log.write([entry(id="before")])
    path.rename(tmp_path / "kept")
    log.write([entry(id="after")])
    assert [line["id"] for line in lines_of(path)] == ["after"]
    log.close()


def test_a_full_disk_costs_lines_that_are_counted_and_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "requests.jsonl"
    ledger = Ledger(shared=None, log=RequestLog(path))
    ledger.record(entry(id="before"))
    ledger.flush()
    real = os.write

    def full(handle: int, payload: Any) -> int:
        if len(payload) <= 20:
            raise OSError(28, "No space left on device")
        return real(handle, payload[:20])  # half a line still fits

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(3):
            ledger.record(entry(id="lost"))
        ledger.flush()
    ledger.record(entry(id="after"))
    assert value(ledger, "slipway_log_lines_lost_total") == 3
    assert value(ledger, "slipway_rows_total", model=DIGEST[:12]) == 5
    assert [line["id"] for line in lines_of(path)] == ["before", "after"]
    ledger.close()


def test_an_id_that_is_no_text_costs_its_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(path)
    log.write([entry(id="one"), entry(id="\ud800"), entry(id="two")])
    assert [line["id"] for line in lines_of(path)] == ["one", "two"]
    assert log.lost == 1
    log.close()


def test_a_dash_is_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log = RequestLog(STDERR)
    log.write([entry(id="shown")])
    log.close()
    assert json.loads(capfd.readouterr().err)["id"] == "shown"


def test_a_path_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-folder"):
        RequestLog(tmp_path / "no-such-folder" / "requests.jsonl")
