"""A tracker that fails never stops training, costs one line, and lacks nothing and has nothing twice after `pipeline sync`."""

import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from pipeline.config import MlflowSettings
from pipeline.tracking import Histogram, Journal, Record, Tracker
from pipeline.tracking.follower import store_lock
from pipeline.tracking.mlflow import LINES_TAG
from pipeline.tracking.mlflow import project as fill
from pipeline.tracking.tensorboard import TensorBoard
from pipeline.training.report import Report
from pipeline.training.state import FitState
from tests.conftest import ROOT, Project
from tests.tracking.conftest import only_run, settings_for

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of mlflow's own imports


@pytest.fixture
def tracked(project: Project, empty_store: Path) -> Project:
    """A project with a SQLite store, which a command fills from a process of its own."""
    database = project.folder / "mlflow.db"  # absolute: mlflow keeps a connection for each name, over all tests
    (project.folder / "mlflow.yaml").write_text(f"tracking_uri: sqlite:///{database}\nartifact_location: files\n")
    shutil.copy(empty_store, database)
    return project


def pipeline(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipeline", *words]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def ended_well(process: "subprocess.Popen[str]") -> list[str]:
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    return out.splitlines()


def stored(database: Path) -> tuple[int, Counter[tuple[str, int, float]]]:
    """Return the number of runs, and how often each point is in the store."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        (runs,) = connection.execute("select count(*) from runs").fetchone()
        return runs, Counter(connection.execute("select key, step, value from metrics").fetchall())


def recorded(journal: Path) -> Counter[tuple[str, int, float]]:
    records = [msgspec.json.decode(line, type=Record) for line in journal.read_bytes().splitlines()]
    found: Counter[tuple[str, int, float]] = Counter()
    for record in records:
        values = record.values
        if record.kind == "metrics":
            found.update((name, record.step or 0, value) for name, value in values.items() if value is not None)
        elif record.kind == "series":
            found.update((name, *point) for name, points in values.items() for point in zip(*points, strict=True))
        elif record.kind == "hparams":
            found.update((f"best/{name}", 0, value) for name, value in values["metrics"].items() if value is not None)
    return found


def assert_every_metric_is_stored_once(folder: Path) -> None:
    runs, points = stored(folder / "mlflow.db")
    assert runs == 1
    wanted = recorded(folder / "runs" / "latest" / "journal.jsonl")
    assert len(wanted) > 10
    assert points == wanted


def test_a_store_that_is_deleted_while_training_runs_is_made_anew_with_everything_in_it(
    tracked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, begun = tracked.folder / "mlflow.db", tracked.folder / "runs"

    class Waits(Report):
        """Lets the store have numbers after 2 epochs, deletes it, and lets the process that fills it notice after 4."""

        def on_epoch_end(self, state: FitState) -> None:
            super().on_epoch_end(state)
            if state.epoch == 2:
                while not stored(database)[1]:
                    time.sleep(0.05)
                database.unlink()
            elif state.epoch == 4:
                with store_lock(next(begun.glob("*-quick-*/journal.jsonl")), "mlflow", wait=True) as ours:
                    assert ours, "it gave up, and training goes on"

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.train.Report", Waits)
        code, out, err = tracked.run("train", "train.epochs=30")
    assert code == 0, (out, err)
    assert_every_metric_is_stored_once(tracked.folder)
    assert tracked.run("sync", config=None)[0] == 0
    assert_every_metric_is_stored_once(tracked.folder)


@pytest.mark.usefixtures("failing_late")
def test_a_store_that_is_locked_during_the_whole_training_is_told_of_and_filled_later(tracked: Project) -> None:
    impatient = (tracked.folder / "mlflow.yaml").read_text().replace("mlflow.db", "mlflow.db?timeout=0.2")  # seconds, not 5
    (tracked.folder / "mlflow.yaml").write_text(impatient)
    with closing(sqlite3.connect(tracked.folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        code, out, err = tracked.run("train")
        other.execute("rollback")
    assert code == 0, err
    (warning,) = [line for line in (*out, *err) if "MLflow" in line]
    assert "MLflow lacks part of this run: " in warning
    assert "database is locked" in warning
    assert "python -m pipeline sync" in warning
    assert stored(tracked.folder / "mlflow.db")[0] == 0
    assert not [path for path in tracked.folder.iterdir() if "?" in path.name]
    assert tracked.run("sync", config=None)[0] == 0
    assert_every_metric_is_stored_once(tracked.folder)


def write_journal(run: Path, epochs: int) -> Path:
    """Write a run with points, series and a picture for each epoch, and return its journal."""
    (run / "train").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(run / "train" / "red.png")
    tracker = Tracker("train", [Journal(run / "journal.jsonl")])
    for epoch in range(1, epochs + 1):
        tracker.metrics({f"val/{n}": epoch + n / 100 for n in range(50)}, step=epoch)
        tracker.images({"figures/red": "red.png"}, step=epoch)
    tracker.close()
    return run / "journal.jsonl"


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Make every write beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_fails_loudly_and_nothing_is_lost_or_twice_once_there_is_room(tmp_path: Path, empty_store: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_store, database)
    journal = write_journal(tmp_path / "runs" / "some-run", epochs=40)
    with files_no_larger_than(database.stat().st_size + 100_000), pytest.raises(Exception, match=r"full|I/O|too large"):
        fill(journal, settings_for(database))
    assert fill(journal, settings_for(database)) == 80
    runs, points = stored(database)
    assert runs == 1
    assert points == recorded(journal)


def test_a_store_that_is_deleted_after_the_work_is_filled_again_from_the_journal(tmp_path: Path, empty_store: Path) -> None:
    journal = write_journal(tmp_path / "runs" / "some-run", epochs=3)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    fill(journal, settings_for(tmp_path / "mlflow.db"))
    (tmp_path / "mlflow.db").unlink()
    (tmp_path / "mlflow.yaml").write_text("tracking_uri: sqlite:///mlflow.db\nartifact_location: files\n")
    ended_well(pipeline(tmp_path, "sync", "--run", str(journal.parent), "--follow"))
    assert stored(tmp_path / "mlflow.db") == (1, recorded(journal))


def test_lines_that_are_stored_again_after_an_attempt_was_cut_off_make_nothing_twice(
    settings: MlflowSettings, tmp_path: Path
) -> None:
    journal = write_journal(tmp_path / "runs" / "some-run", epochs=3)
    assert fill(journal, settings) == 6
    client, run = only_run(settings)
    client.set_tag(run.info.run_id, LINES_TAG, "2")  # as if the process had died before it could note how far it was
    assert fill(journal, settings) == 4
    runs, points = stored(tmp_path / "mlflow.db")
    assert (runs, points) == (1, recorded(journal))
    names = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert len([name for name in names if name.endswith(".png")]) == 3


def test_a_tensorboard_folder_that_cannot_be_made_costs_one_line(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a file stands where the folder should be")
    said: list[str] = []
    tracker = Tracker(
        "train", [Journal(tmp_path / "journal.jsonl"), TensorBoard(tmp_path / "train" / "tensorboard")], warn=said.append
    )
    for epoch in range(1, 4):
        tracker.metrics({"loss": 1.0}, step=epoch)
    tracker.close()
    (line,) = said
    assert line.startswith("TensorBoard failed and is left out from here on: ")
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 3


def test_a_tensorboard_folder_on_a_full_disk_costs_one_line(tmp_path: Path) -> None:
    said: list[str] = []
    board = TensorBoard(tmp_path / "train" / "tensorboard")
    tracker = Tracker("train", [Journal(tmp_path / "journal.jsonl"), board], warn=said.append)
    wide = Histogram(0, 1, 1, 1, 1, [n / 100 for n in range(1, 101)], [1] * 100)
    with files_no_larger_than(30_000):
        for epoch in range(1, 16):
            tracker.histograms({"a": wide, "b": wide}, step=epoch)
            if said:
                break
    (line,) = said
    assert line.startswith("TensorBoard failed and is left out from here on: ")
    tracker.metrics({"loss": 1.0}, step=99)
    assert b'"step":99' in (tmp_path / "journal.jsonl").read_bytes()
