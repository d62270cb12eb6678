"""TensorBoard shows every kind of record, at its step, in one folder, and each run once."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pipeline.tracking import Histogram, Journal, PrCurve, Tracker, read_journal
from pipeline.tracking.tensorboard import TensorBoard
from pipeline.tracking.tensorboard_view import link_stages


def tell_everything(tracker: Tracker, folder: Path) -> None:
    Image.new("RGBA", (5, 3), "red").save(folder / "red.png")
    np.save(folder / "points.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    graph = GraphDef()
    graph.node.add(name="input", op="Placeholder")
    (folder / "graph.pb").write_bytes(graph.SerializeToString())
    tracker.graph("graph.pb")
    tracker.text({"notes": "# Notes"})
    for epoch in (1, 2):
        tracker.metrics({"val/loss": 1 / epoch, "val/r2": float("nan")}, step=epoch)
        tracker.series({"steps/loss": ([10 * epoch, 10 * epoch + 1], [0.5, 0.25])}, step=epoch)
        tracker.histograms({"weights": Histogram(0.0, 2.0, 3, 3.0, 5.0, [1.0, 2.0], [1, 2])}, step=epoch)
        tracker.images({"confusion": "red.png", "gone": "gone.png"}, step=epoch)
        tracker.pr_curves({"val/a": PrCurve([2, 0], [1, 0], [0, 1], [0, 2], [0.6, 1.0], [1.0, 0.0])}, step=epoch)
    tracker.embedding("last/features", "points.npy", ["a", "b", "c"], step=2)
    tracker.hparams({"lr": 0.1, "hidden": [8, 8], "name": "mlp", "clip": None, "fast": True}, {"val/loss": 0.25})


def events_of(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0, "scalars": 0, "histograms": 0})
    events.Reload()
    return events


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A training that has said everything, in its unfinished folder."""
    folder = tmp_path / "some-run" / "train.partial"
    folder.mkdir(parents=True)
    said: list[str] = []
    journal = Journal(tmp_path / "some-run" / "journal.jsonl")
    tracker = Tracker("train", [journal, TensorBoard(folder / "tensorboard")], warn=said.append)
    tell_everything(tracker, folder)
    tracker.close()
    assert said == []
    return folder


def assert_everything_is_there(events: Any) -> None:
    assert [(point.step, point.value) for point in events.Scalars("val/loss")] == [(1, 1.0), (2, 0.5)]
    assert [np.isnan(point.value) for point in events.Scalars("val/r2")] == [True, True]
    assert [(point.step, point.value) for point in events.Scalars("steps/loss")] == [
        (10, 0.5),
        (11, 0.25),
        (20, 0.5),
        (21, 0.25),
    ]
    assert [point.step for point in events.Histograms("weights")] == [1, 2]
    histogram = events.Histograms("weights")[0].histogram_value
    assert (histogram.num, histogram.bucket_limit, histogram.bucket) == (3, [1.0, 2.0], [1.0, 2.0])
    pictures = events.Images("confusion")
    assert [(picture.step, picture.width, picture.height) for picture in pictures] == [(1, 5, 3), (2, 5, 3)]
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")
    assert events.Tags()["images"] == ["confusion"]
    assert [tensor.step for tensor in events.Tensors("val/a")] == [1, 2]
    assert tensor_shape(events.Tensors("val/a")[0]) == [6, 2]
    assert events.Tensors("notes/text_summary")[0].tensor_proto.string_val == [b"# Notes"]
    assert [node.name for node in events.Graph().node] == ["input"]


def tensor_shape(tensor: Any) -> list[int]:
    return [dim.size for dim in tensor.tensor_proto.tensor_shape.dim]


def test_every_kind_is_shown_at_its_step(stage: Path) -> None:
    assert_everything_is_there(events_of(stage / "tensorboard"))


def test_a_resume_makes_the_same_folder_from_the_journal_alone(stage: Path) -> None:
    files = {path.name for path in (stage / "tensorboard").glob("*.tsv")}
    before = read_journal(stage.parent / "journal.jsonl", "train")
    (stage / "tensorboard" / "left-behind.tsv").write_text("of the killed process")
    tracker = Tracker("train", [TensorBoard(stage / "tensorboard", before)], before=before)
    tracker.event("stage_started")
    tracker.metrics({"val/loss": 0.25}, step=3)
    tracker.close()
    assert {path.name for path in (stage / "tensorboard").glob("*.tsv")} == files
    events = events_of(stage / "tensorboard")
    assert [point.step for point in events.Scalars("val/loss")] == [1, 2, 3]
    assert [point.step for point in events.Images("confusion")] == [1, 2]
    moments = {datetime.fromisoformat(record.time).timestamp() for record in before}
    assert {point.wall_time for point in events.Scalars("val/loss")[:2]} <= moments, "the times are those of the records"


def test_settings_and_results_are_a_session_in_the_folder_of_the_curves(stage: Path) -> None:
    (file,) = (stage / "tensorboard").glob("events.*")
    assert [path for path in (stage / "tensorboard").iterdir() if path.is_dir()] == []
    events = events_of(file.parent)
    start = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    settings = {name: value.number_value or value.string_value for name, value in start.session_start_info.hparams.items()}
    assert settings == {"lr": 0.1, "hidden": "[8,8]", "name": "mlp", "clip": "null", "fast": "true"}
    experiment = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert [info.name.tag for info in experiment.experiment.metric_infos] == ["best/val/loss"]
    assert [point.value for point in events.Scalars("best/val/loss")] == [0.25]
    assert [point.step for point in events.Scalars("val/loss")] == [1, 2], "the curve of that name is as it was"


def test_the_projector_finds_points_and_labels(stage: Path) -> None:
    config = (stage / "tensorboard" / "projector_config.pbtxt").read_text()
    named = dict(line.strip().split(": ") for line in config.splitlines() if ": " in line)
    paths = {key: msgspec.json.decode(value) for key, value in named.items()}
    assert paths["tensor_name"] == "last/features at epoch 2"
    assert (stage / "tensorboard" / paths["tensor_path"]).read_text().splitlines() == ["0\t1", "2\t3", "4\t5"]
    assert (stage / "tensorboard" / paths["metadata_path"]).read_text().splitlines() == ["a", "b", "c"]


def test_a_run_is_listed_once_and_keeps_its_name_when_its_training_is_done(tmp_path: Path) -> None:
    runs, view = tmp_path / "runs", tmp_path / "view"
    view.mkdir()
    for run in ("first", "second"):
        (runs / run / "train.partial" / "tensorboard").mkdir(parents=True)
    (runs / "latest").symlink_to("second")
    link_stages(runs, view)
    links = sorted(view.glob("*/*"))
    assert [str(link.relative_to(view)) for link in links] == ["first/train", "second/train"]
    (runs / "first" / "train.partial").rename(runs / "first" / "train")
    (runs / "third" / "train" / "tensorboard").mkdir(parents=True)
    link_stages(runs, view)
    found = {str(link.relative_to(view)): str(link.resolve().relative_to(runs)) for link in view.glob("*/*")}
    assert found == {
        "first/train": "first/train/tensorboard",
        "second/train": "second/train.partial/tensorboard",
        "third/train": "third/train/tensorboard",
    }
