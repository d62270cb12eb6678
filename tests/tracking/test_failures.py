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
from pipeline.tracking.mlflow import LINES_TAG, project
from pipeline.tracking.tensorboard import TensorBoard
from tests.conftest import QUICK, ROOT
from tests.tracking.conftest import only_run, settings_for

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of mlflow's own imports


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path) -> Path:
    """A project with a SQLite store, where commands run as processes of their own."""
    (tmp_path / "quick.yaml").write_text(QUICK)
    (tmp_path / "mlflow.yaml").write_text("tracking_uri: sqlite:///mlflow.db\nartifact_location: files\n")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


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


def test_a_store_that_is_deleted_while_training_runs_is_made_anew_with_everything_in_it(folder: Path) -> None:
    words = ("train.epochs=2500", "train.early_stopping.patience=9000")
    training = pipeline(folder, "train", "--config", "quick.yaml", *words)
    while training.poll() is None and not stored(folder / "mlflow.db")[1]:
        time.sleep(0.05)
    assert training.poll() is None, "the store has numbers while the training runs"
    (folder / "mlflow.db").unlink()
    ended_well(training)
    assert_every_metric_is_stored_once(folder)
    ended_well(pipeline(folder, "sync"))
    assert_every_metric_is_stored_once(folder)


def test_a_store_that_is_locked_during_the_whole_training_is_told_of_and_filled_later(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        lines = ended_well(pipeline(folder, "train", "--config", "quick.yaml"))
        other.execute("rollback")
    warnings = [line for line in lines if "MLflow" in line]
    assert len(warnings) <= 2, "one while it trains, if that takes so long, and one at the end"
    assert "database is locked" in warnings[-1]
    assert "python -m pipeline sync" in warnings[-1]
    assert stored(folder / "mlflow.db")[0] == 0
    ended_well(pipeline(folder, "sync"))
    assert_every_metric_is_stored_once(folder)


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
        project(journal, settings_for(database))
    assert project(journal, settings_for(database)) == 80
    runs, points = stored(database)
    assert runs == 1
    assert points == recorded(journal)


def test_a_store_that_is_deleted_after_the_work_is_filled_again_from_the_journal(tmp_path: Path, empty_store: Path) -> None:
    journal = write_journal(tmp_path / "runs" / "some-run", epochs=3)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    project(journal, settings_for(tmp_path / "mlflow.db"))
    (tmp_path / "mlflow.db").unlink()
    (tmp_path / "mlflow.yaml").write_text("tracking_uri: sqlite:///mlflow.db\nartifact_location: files\n")
    ended_well(pipeline(tmp_path, "sync", "--run", str(journal.parent), "--follow"))
    assert stored(tmp_path / "mlflow.db") == (1, recorded(journal))


def test_lines_that_are_stored_again_after_an_attempt_was_cut_off_make_nothing_twice(
    settings: MlflowSettings, tmp_path: Path
) -> None:
    journal = write_journal(tmp_path / "runs" / "some-run", epochs=3)
    assert project(journal, settings) == 6
    client, run = only_run(settings)
    client.set_tag(run.info.run_id, LINES_TAG, "2")  # as if the process had died before it could note how far it was
    assert project(journal, settings) == 4
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
