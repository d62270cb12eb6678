"""MLflow shows what the journal has, once, in a real SQLite store."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pipeline.config import MlflowSettings
from pipeline.tracking import Histogram, Journal, Tracker
from pipeline.tracking.mlflow import project
from tests.conftest import Project
from tests.tracking.conftest import only_run, settings_for

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of mlflow's own imports


def write_epochs(journal: Path, first: int, last: int) -> None:
    tracker = Tracker("train", [Journal(journal)])
    for epoch in range(first, last + 1):
        tracker.metrics({"val/loss": 1 / epoch, "val/r2": float("nan")}, step=epoch)
    tracker.close()


def test_every_metric_is_stored_once_however_often_and_whenever_it_is_synced(settings: MlflowSettings, tmp_path: Path) -> None:
    journal = tmp_path / "runs" / "some-run" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    write_epochs(journal, 1, 3)
    assert project(journal, settings) == 3
    assert project(journal, settings) == 0
    write_epochs(journal, 4, 5)
    assert project(journal, settings) == 2
    client, run = only_run(settings)
    assert run.info.run_name == "some-run"
    history = client.get_metric_history(run.info.run_id, "val/loss")
    assert [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)] == [
        (n, 1 / n) for n in range(1, 6)
    ]
    assert "val/r2" not in run.data.metrics


def test_params_files_tags_and_status_follow_the_stages(settings: MlflowSettings, tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "some-run"
    (run_folder / "train" / "plots").mkdir(parents=True)
    (run_folder / "train" / "tensorboard").mkdir()
    for name in ("best.pt", "plots/curves.png", "tensorboard/events", "rows.npy"):
        (run_folder / "train" / name).write_text(name)
    journal = run_folder / "journal.jsonl"
    tracker = Tracker("train", [Journal(journal)])
    tracker.event("stage_started")
    tracker.params({"train.lr": 0.1})
    tracker.params({"train.lr": 0.2})  # MLflow forbids a change; the first stays
    tracker.files(run_folder / "train")
    tracker.event("stage_finished")
    tracker.close()
    project(journal, settings)
    client, run = only_run(settings)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.lr": "0.1"}
    assert {"stage": "train", "stage.train": "done", "slipway.run": "some-run"}.items() <= run.data.tags.items()
    assert [file.path for file in client.list_artifacts(run.info.run_id, "train")] == ["train/best.pt", "train/plots"]
    tracker = Tracker("export", [Journal(journal)])
    tracker.event("stage_failed", reason="parity")
    tracker.close()
    project(journal, settings)
    assert only_run(settings)[1].info.status == "FAILED"


def test_series_texts_pictures_and_results_are_stored_as_mlflow_has_them(settings: MlflowSettings, tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "some-run"
    (run_folder / "train.partial").mkdir(parents=True)
    Image.new("RGBA", (8, 4), "red").save(run_folder / "train.partial" / "red.png")
    tracker = Tracker("train", [Journal(run_folder / "journal.jsonl")])
    tracker.series({"steps/loss": ([10, 11, 12], [0.5, float("nan"), 0.25])}, step=1)
    tracker.images({"val: worst": "red.png", "gone": "gone.png"}, step=3)
    tracker.text({"notes": "# Notes"})
    tracker.hparams({"lr": 0.1}, {"val/loss": 0.125})
    tracker.histograms({"weights": Histogram(0.0, 2.0, 3, 3.0, 5.0, [1.0, 2.0], [1, 2])}, step=1)  # MLflow has no such kind
    tracker.close()
    assert project(run_folder / "journal.jsonl", settings) == 5
    client, run = only_run(settings)
    points = client.get_metric_history(run.info.run_id, "steps/loss")
    assert [(point.step, point.value) for point in points] == [(10, 0.5), (12, 0.25)]
    assert run.data.metrics == {"steps/loss": 0.25, "best/val/loss": 0.125}
    assert run.data.params == {"lr": "0.1"}
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert {name.split("+timestamp+")[0] for name in pictures} == {"images/val_ worst+step+3"}
    assert sorted(Path(name).suffix for name in pictures) == [".png", ".webp"], "in full, and small for the slider"
    assert [file.path for file in client.list_artifacts(run.info.run_id, "train")] == ["train/notes.md"]


def test_a_half_written_line_waits_for_its_other_half(settings: MlflowSettings, tmp_path: Path) -> None:
    journal = tmp_path / "runs" / "some-run" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    write_epochs(journal, 1, 2)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    assert project(journal, settings) == 1
    journal.write_bytes(whole)
    assert project(journal, settings) == 1


def test_a_command_fills_the_store_while_it_works_and_evaluations_join_the_same_run(
    project: Project, empty_store: Path
) -> None:
    shutil.copy(empty_store, project.folder / "mlflow.db")
    (project.folder / "mlflow.yaml").write_text("tracking_uri: sqlite:///mlflow.db\nartifact_location: files\n")
    code, out, err = project.run("evaluate")
    assert (code, err) == (0, [])
    assert not [line for line in out if "warning" in line]
    client, run = only_run(settings_for(project.folder / "mlflow.db"))
    assert run.info.run_name == project.latest.name
    assert run.data.params["train.epochs"] == "3"
    assert run.data.params["data.source"] == "iris"
    assert len(client.get_metric_history(run.info.run_id, "val/accuracy")) == 3
    assert 0 < run.data.metrics["test/accuracy"] <= 1
    assert {"stage.prepare": "done", "stage.train": "done", "stage.evaluate": "done"}.items() <= run.data.tags.items()
    assert "evaluate/metrics.json" in {file.path for file in client.list_artifacts(run.info.run_id, "evaluate")}


@pytest.mark.usefixtures("failing_early")
def test_training_finishes_when_the_store_is_broken_and_sync_catches_up(project: Project, empty_store: Path) -> None:
    (project.folder / "mlflow.yaml").write_text("tracking_uri: sqlite:///mlflow.db\nartifact_location: files\n")
    (project.folder / "mlflow.db").write_text("this is no database, but it is as long as a header of one " * 10)
    code, out, _ = project.run("train")
    assert code == 0
    (warning,) = [line for line in out if line.startswith("warning: ")]
    assert "MLflow lacks part of this run so far: " in warning
    assert "file is not a database" in warning
    assert "python -m pipeline sync" in warning
    assert (project.latest / "train" / "best.pt").is_file()
    shutil.copy(empty_store, project.folder / "mlflow.db")
    code, out, _ = project.run("sync", config=None)
    assert code == 0
    assert "new journal lines stored" in out[-1]
    _, run = only_run(settings_for(project.folder / "mlflow.db"))
    assert run.data.metrics["val/loss"] > 0
