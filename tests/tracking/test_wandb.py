"""Weights & Biases gets a journal once, in one offline run that wandb's own upload understands."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from pipeline.config import MlflowSettings
from pipeline.tracking import Histogram, Journal, Tracker
from pipeline.tracking.follower import followers
from tests.conftest import ROOT

BLOCK = 32768  # bytes; a .wandb file is a log of LevelDB's form behind a header of 7 bytes
PROJECT = "from pathlib import Path\nfrom pipeline.config import MlflowSettings\nfrom pipeline.tracking.wandb import project\n"


def pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 7
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # no room for a header: the block ends
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        yield kind, content[at + 7 : at + 7 + length]
        at += 7 + length


def records(run: Path) -> list[Any]:
    """Return what wandb wrote for a run, from its only file."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # generated

    (file,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    found, so_far = [], b""
    for kind, piece in pieces(file.read_bytes()):
        so_far = so_far + piece if kind in {3, 4} else piece  # 1: whole; 2, 3, 4: first, middle and last part
        if kind in {1, 4}:
            found.append(Record.FromString(so_far))
    return found


def rows(run: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's history, without wandb's own columns."""
    history = [record.history for record in records(run) if record.WhichOneof("record_type") == "history"]
    items = [
        {item.key or "/".join(item.nested_key): msgspec.json.decode(item.value_json) for item in row.item} for row in history
    ]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in items]


def project(run: Path) -> int:
    """Give a journal to wandb in a process of its own, as a command does."""
    code = f"{PROJECT}print(project(Path({str(run / 'journal.jsonl')!r}), MlflowSettings(wandb_project='slipway')))"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(run)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=run)
    assert done.stderr == ""
    return int(done.stdout)


def write(run: Path, epochs: range) -> None:
    (run / "train" / "plots").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(run / "train" / "red.png")
    Image.new("RGB", (8, 8), "blue").save(run / "train" / "plots" / "curves.png")
    tracker = Tracker("train", [Journal(run / "journal.jsonl")])
    tracker.params({"train.lr": 0.1})
    for epoch in epochs:
        tracker.metrics({"val/loss": 1 / epoch, "val/r2": float("nan")}, step=epoch)
        tracker.series({"steps/loss": ([10 * epoch, 10 * epoch + 1], [0.5, 0.25])}, step=epoch)
        tracker.histograms({"weights": Histogram(0.0, 2.0, 3, 3.0, 5.0, [1.0, 2.0], [1, 2])}, step=epoch)
        tracker.images({"confusion": "red.png"}, step=epoch)
    tracker.hparams({"hidden": [8, 8]}, {"val/loss": 0.25})
    tracker.metrics({"test/accuracy": 0.75})
    tracker.files(run / "train")
    tracker.event("stage_finished")
    tracker.close()


def test_a_journal_becomes_one_offline_run_with_everything_once_however_often_it_is_given(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "some-run"
    write(run, range(1, 3))
    assert project(run) == 11
    assert project(run) == 0
    write(run, range(3, 4))
    assert project(run) == 11 + 6
    found = rows(run)
    assert [(row["epoch"], row["val/loss"]) for row in found if "val/loss" in row] == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    steps = [(row["step"], row["steps/loss"]) for row in found if "steps/loss" in row]
    assert steps == [(10, 0.5), (11, 0.25), (20, 0.5), (21, 0.25), (30, 0.5), (31, 0.25)]
    histograms = [row for row in found if "weights/bins" in row]
    assert [(row["epoch"], row["weights/values"], row["weights/bins"]) for row in histograms] == [
        (epoch, [1, 2], [0, 1, 2]) for epoch in (1, 2, 3)
    ]
    assert [row["epoch"] for row in found if row.get("confusion/format") == "png"] == [1, 2, 3]
    assert len([row for row in found if row.get("train/curves/format") == "png"]) == 2, "the stage was finished twice"
    assert not [row for row in found if "val/r2" in row]


def test_the_run_has_our_id_our_settings_and_curves_over_epochs(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "some-run"
    write(run, range(1, 2))
    project(run)
    found = records(run)
    (begun,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (begun.project, begun.run_id, begun.display_name) == ("slipway", "some-run", "some-run")
    config = {
        "/".join(item.nested_key) or item.key: msgspec.json.decode(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "config"
        for item in record.config.update
    }
    assert config["train.lr"] == 0.1
    assert config["hidden"] == [8, 8]
    axes = {
        (m.metric.name or m.metric.glob_name): m.metric.step_metric for m in found if m.WhichOneof("record_type") == "metric"
    }
    assert axes["*"] == "epoch"
    assert axes["steps/loss"] == "step"
    summary = {
        (item.key or "/".join(item.nested_key)): msgspec.json.decode(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["test/accuracy"] == 0.75
    assert summary["best/val/loss"] == 0.25


def test_wandb_that_is_wanted_but_not_installed_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    settings = MlflowSettings(wandb_project="slipway")
    assert [follower.name for follower in followers(tmp_path / "journal.jsonl", settings, said.append)] == ["MLflow"]
    (line,) = said
    assert "pip install 'slipway[wandb]'" in line
    assert "wandb_project is slipway" in line
