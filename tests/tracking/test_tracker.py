"""A tracker says everything once, also when a killed training repeats its last epoch, and its progress costs nothing."""

import time
from pathlib import Path

import pytest

from pipeline.tracking import Histogram, Journal, PrCurve, Record, Shared, Tracker, read_journal

WIDE = Histogram(0.0, 2.0, 3, 3.0, 5.0, [1.0, 2.0], [1, 2])
CURVE = PrCurve([2, 0], [1, 0], [0, 1], [0, 2], [0.6, 1.0], [1.0, 0.0])


class Screen:
    name = "screen"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, dict[str, float]]] = []

    def show(self, record: Record) -> None:
        """Take a record."""

    def advance(self, done: int, total: int, shown: dict[str, float]) -> None:
        self.seen.append((done, total, shown))

    def close(self) -> None:
        """Nothing is open."""


def tell_everything(tracker: Tracker, epoch: int) -> None:
    tracker.text({"notes": "# Notes"})
    tracker.graph("graph.pb")
    tracker.metrics({"val/loss": 0.5}, step=epoch)
    tracker.series({"steps/loss": ([1, 2], [0.5, float("nan")])}, step=epoch)
    tracker.histograms({"weights": WIDE}, step=epoch)
    tracker.images({"confusion": f"{epoch}.png"}, step=epoch)
    tracker.pr_curves({"val/a": CURVE}, step=epoch)
    tracker.embedding("features", "features.npy", ["a\tb", "c"], step=epoch)
    tracker.hparams({"lr": 0.1, "hidden": [8, 8]}, {"best": 0.25})


def test_what_projections_see_is_what_the_journal_keeps(tmp_path: Path) -> None:
    seen: list[Record] = []
    screen = Screen()
    screen.show = seen.append  # type: ignore[method-assign, assignment]
    tracker = Tracker("train", [Journal(tmp_path / "journal.jsonl"), screen])
    tell_everything(tracker, 1)
    tracker.close()
    kept = read_journal(tmp_path / "journal.jsonl", "train")
    assert len(kept) == 9
    finite = [record for record in seen if record.kind != "series"]
    assert finite == [record for record in kept if record.kind != "series"]
    (series,) = (record for record in kept if record.kind == "series")
    assert series.values == {"steps/loss": [[1, 2], [0.5, None]]}


@pytest.mark.parametrize("lines", range(10))
def test_a_resume_completes_the_epoch_that_a_kill_cut_off_and_says_nothing_twice(tmp_path: Path, lines: int) -> None:
    journal = tmp_path / "journal.jsonl"
    tracker = Tracker("train", [Journal(journal)])
    tell_everything(tracker, 1)
    tracker.close()
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:lines]))
    resumed = Tracker("train", [Journal(journal)], before=read_journal(journal, "train"))
    tell_everything(resumed, 1)
    resumed.metrics({"val/loss": 0.4}, step=2)
    resumed.event("resumed", epoch=1)
    resumed.close()
    kinds = [record.kind for record in read_journal(journal, "train")]
    expected = ["text", "graph", "metrics", "series", "histograms", "images", "pr_curves", "embedding", "hparams"]
    assert kinds == [*expected, "metrics", "event"]


def test_progress_is_not_recorded_is_shown_a_few_times_a_second_and_reaches_a_shared_screen(tmp_path: Path) -> None:
    screen = Screen()
    tracker = Tracker("train", [Journal(tmp_path / "journal.jsonl"), Shared(screen)])
    started = time.perf_counter()
    for done in range(20_000):
        tracker.progress(done, 20_000, loss=0.5)
    seconds = time.perf_counter() - started
    tracker.close()
    assert screen.seen[0] == (0, 20_000, {"loss": 0.5})
    assert len(screen.seen) <= 1 + seconds / 0.25
    assert seconds / 20_000 < 20e-6, "a call costs less than a hundredth of the smallest step"
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


def test_numbers_that_do_not_fit_together_are_refused_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="2 edges, 1 counts"):
        Histogram(0.0, 1.0, 1, 1.0, 1.0, [0.5, 1.0], [1])
    with pytest.raises(ValueError, match="equally long"):
        PrCurve([1], [1], [1], [1], [1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="series a: 2 steps, but 1 numbers"):
        Tracker("train").series({"a": ([1, 2], [1.0])}, step=1)
