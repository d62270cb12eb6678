"""The console: about ten plain lines for a log file; on a terminal calm bars with what is left, how fast, and what was best."""

import io
import re

import pytest

from pipeline.tracking import Tracker
from pipeline.tracking.console import Console


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def drawn(console: Console, width: int = 120) -> list[str]:
    """Return what the terminal shows now."""
    from rich.console import Console as Paper

    paper = Paper(file=io.StringIO(), width=width, color_system=None)
    paper.print(console._render())
    text: str = paper.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize(("epochs", "most"), [(5, 5), (60, 11), (1000, 11)])
def test_a_log_file_gets_about_ten_lines_for_a_training_run(epochs: int, most: int) -> None:
    lines: list[str] = []
    tracker = Tracker("train", [Console(terminal=False, write=lines.append)])
    tracker.event("work_started", steps=epochs)
    for epoch in range(1, epochs + 1):
        tracker.progress(1, 2, loss=1.0)
        tracker.metrics({"train/loss": 1.0, "val/loss": 1.0, "train/f1": 0.3}, step=epoch)
        tracker.metrics({"memory/peak": 1.0}, step=epoch)
    assert 2 <= len(lines) <= most
    assert lines[0].startswith(f"train    epoch 1/{epochs}  train/loss 1  val/loss 1  [")


def test_plain_lines_name_the_best_epoch_and_the_speed_but_no_guess_of_what_is_left() -> None:
    lines: list[str] = []
    clock = Clock()
    tracker = Tracker("train", [Console(terminal=False, write=lines.append, clock=clock)])
    tracker.event("work_started", steps=4, rows=1000, batches=10, best="val/f1", mode="max")
    for epoch, value in enumerate([0.5, 0.7, float("nan"), 0.6], start=1):
        clock.now_s += 2.0
        tracker.metrics({"val/f1": value}, step=epoch)
    assert lines[-1] == "train    epoch 4/4  val/f1 0.6  best val/f1 0.7 at epoch 2  500 rows/s  [8.0 s]"


def test_a_terminal_gets_bars_that_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(terminal=True) as console:
        tracker = Tracker("train", [console])
        tracker.event("work_started", steps=2)
        tracker.metrics({"val/loss": 1.0}, step=1)
        console.line("in between")
    console.line("after")
    out = capsys.readouterr().out
    assert "in between" in out
    assert out.rstrip().endswith("after")


def test_a_terminal_shows_epochs_batches_what_is_left_and_the_best_metric() -> None:
    clock = Clock()
    with Console(terminal=True, clock=clock) as console:
        tracker = Tracker("train", [console])
        tracker.event("work_started", steps=10, rows=1000, batches=50, best="val/loss", mode="min")
        clock.now_s += 4.0
        tracker.metrics({"train/loss": 0.5, "val/loss": 0.25}, step=1)
        clock.now_s += 2.0
        tracker.progress(25, 50, loss=0.4)
        shown = drawn(console)
    assert re.match(r"train +\S+ +1/10 epochs +0:00:34 left  250 rows/s", shown[0])  # 8.5 epochs of 4 s are left
    assert re.match(r"  epoch +\S+ +25/50 batches +loss 0.4", shown[1])
    assert shown[2:] == ["         train/loss 0.5  val/loss 0.25", "         best val/loss 0.25 at epoch 1"]


def test_a_resumed_training_counts_what_is_left_from_where_it_goes_on_and_keeps_its_best() -> None:
    clock = Clock()
    with Console(terminal=True, clock=clock) as console:
        tracker = Tracker("train", [console])
        tracker.event("work_started", steps=10, rows=1000, batches=50, best="val/loss", mode="min")
        tracker.event("resumed", epoch=9, batch=0, best_value=0.125, best_epoch=7)
        clock.now_s += 3.0
        tracker.progress(25, 50)
        shown = drawn(console)
    assert re.search(r"9/10 epochs +0:00:03 left  167 rows/s$", shown[0])
    assert shown[-1] == "         best val/loss 0.125 at epoch 7"


def test_a_narrow_terminal_gets_no_more_lines() -> None:
    with Console(terminal=True) as console:
        tracker = Tracker("train", [console])
        tracker.event("work_started", steps=10, batches=50, best="val/loss", mode="min")
        tracker.progress(1, 50, loss=0.4)
        tracker.metrics({"train/loss": 0.123456, "val/loss": 0.123456, "val/accuracy": 0.123456, "lr": 1e-3}, step=1)
        assert len(drawn(console, width=50)) == 4


def test_what_a_person_should_know_is_a_line_and_thinned_monitors_are_told_of_once() -> None:
    lines: list[str] = []
    tracker = Tracker("train", [Console(terminal=False, write=lines.append)])
    found = [
        {"level": level, "check": "gradients", "text": f"text {level}", "stops": False} for level in ("PASS", "WARN", "FAIL")
    ]
    tracker.event("sanity", findings=found)
    tracker.event("monitor_failed", monitor="graph", why="no")
    for name in ("histograms", "pictures"):
        tracker.event("monitor_thinned", monitor=name, why="a look takes 20 ms")
    assert lines == [
        "warning: gradients: text FAIL",
        "warning: monitor graph failed and is off from here on: no",
        "monitors look less often, to stay below monitor.max_overhead; cost/* in the journal has each",
    ]
