"""The journal has everything, in order, and no tracker can stop the work."""

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.tracking import Journal, Record, Tracker
from pipeline.tracking.tensorboard import TensorBoard


class Failing:
    name = "Flaky"

    def __init__(self) -> None:
        self.calls = 0

    def show(self, record: Record) -> None:
        self.calls += 1
        raise ConnectionError("the server is gone\nwith a long story")

    def close(self) -> None:
        raise AssertionError("a projection that failed is left out")


def test_every_call_is_one_line_in_order(tmp_path: Path) -> None:
    tracker = Tracker("train", [Journal(tmp_path / "journal.jsonl")])
    tracker.params({"train.lr": 0.1})
    tracker.metrics({"val/loss": 0.5, "val/r2": float("nan")}, step=3)
    tracker.event("early_stop", epoch=3)
    tracker.close()
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["kind"], line["step"], line["values"]) for line in lines] == [
        ("train", "params", None, {"train.lr": 0.1}),
        ("train", "metrics", 3, {"val/loss": 0.5, "val/r2": None}),
        ("train", "event", None, {"name": "early_stop", "epoch": 3}),
    ]
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]


def test_a_tracker_that_fails_is_one_loud_line_and_the_journal_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    flaky = Failing()
    tracker = Tracker("train", [Journal(tmp_path / "journal.jsonl"), flaky], warn=said.append)
    for step in range(3):
        tracker.metrics({"loss": 1.0}, step=step)
    tracker.close()
    assert said == ["Flaky failed and is left out from here on: the server is gone"]
    assert flaky.calls == 1
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 3


def test_a_tracker_without_projections_takes_everything_and_does_nothing() -> None:
    tracker = Tracker("train")
    tracker.metrics({"loss": 1.0})
    tracker.close()


def test_tensorboard_shows_every_metric_at_its_epoch(tmp_path: Path) -> None:
    tracker = Tracker("train", [TensorBoard(tmp_path / "tensorboard")])
    for step in (1, 2):
        tracker.metrics({"val/loss": 1 / step, "lr": 0.1}, step=step)
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["lr", "val/loss"]
    assert [(point.step, point.value) for point in events.Scalars("val/loss")] == [(1, 1.0), (2, 0.5)]


def test_a_stage_without_metrics_makes_no_tensorboard_folder(tmp_path: Path) -> None:
    tracker = Tracker("prepare", [TensorBoard(tmp_path / "tensorboard")])
    tracker.event("split", train=3)
    tracker.close()
    assert not (tmp_path / "tensorboard").exists()
