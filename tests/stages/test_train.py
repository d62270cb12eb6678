"""train: the best epoch is kept, twice the same for the same seed, and users' mistakes end in one line."""

import json

import numpy as np
import pytest
import torch

from pipeline.artifacts import Model
from pipeline.training.deployed import answers, deployable_of
from tests.conftest import Finished, Project

CUSTOM = """
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, outputs))
    def forward(self, inputs):
        return self.layers(inputs)
"""
WORDS = ("model.name=custom", "model.file=net.py", "model.class=Net")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(project: Project) -> None:
    digests = []
    for words in (["name=a"], ["name=b"], ["name=c", "seed=1"]):
        assert project.run("train", *words)[0] == 0
        digests.append(Model.open(project.latest / "train").manifest.makes["best.pt"].sha256)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_the_history_has_a_line_an_epoch_and_the_best_epochs_numbers_are_the_manifests(project: Project) -> None:
    project.run("train", "train.epochs=4")
    history = [json.loads(line) for line in (project.latest / "train" / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2, 3, 4]
    manifest = Model.open(project.latest / "train").manifest
    best = min(history, key=lambda line: float(line["val/loss"]))
    assert manifest.notes["best_epoch"] == best["epoch"]
    assert manifest.metrics["val/accuracy"] == best["val/accuracy"]


def test_the_best_checkpoint_answers_as_it_did_when_it_was_chosen(finished: Finished) -> None:
    inputs, targets = finished.prepared.split("validation")
    predicted = answers(deployable_of(finished.prepared, finished.model), inputs).argmax(1)
    assert float((predicted == targets).mean()) == pytest.approx(finished.model.manifest.metrics["val/accuracy"])


def test_normalization_is_the_same_inside_the_graph_as_in_training(finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    inputs, _ = finished.prepared.split("train")
    statistics = finished.prepared.statistics["inputs"]
    expected = (inputs - np.float32(statistics["shift"])) / np.float32(statistics["scale"])
    np.testing.assert_array_equal(deployable.normalize.forward(torch.from_numpy(inputs)).numpy(), expected)


def test_a_users_own_model_trains_exports_and_travels_with_the_run(project: Project) -> None:
    (project.folder / "net.py").write_text(CUSTOM)
    code, out, err = project.run("export", *WORDS, "model.args={width: 6}")
    assert (code, err) == (0, [])
    assert "onnx and torchscript: same answers as the model" in out[-1]
    assert (project.latest / "train" / "custom_model.py").read_text() == CUSTOM


def test_a_change_in_the_users_file_trains_anew(project: Project) -> None:
    (project.folder / "net.py").write_text(CUSTOM)
    project.run("train", *WORDS)
    first = project.latest
    assert "skipped" in project.run("train", *WORDS)[1][-1]
    (project.folder / "net.py").write_text(CUSTOM.replace("Tanh", "ReLU"))
    project.run("train", *WORDS)
    assert project.latest != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("return self.layers(inputs)", "return self.layers(inputs)[:, :2]"),
            "must return the shape (32, 3), it returns (32, 2)",
        ),
        (("return self.layers(inputs)", "return self.layers(inputs.T)"), "a training step fails on rows of shape (4,)"),
        (("class Net", "class Nett"), "the file has no 'Net'"),
        (("return self.layers(inputs)", "assert not self.training; return self.layers(inputs)"), "AssertionError"),
        (("return self.layers(inputs)", "return self.layers(inputs).detach()"), "the answers have no gradient"),
        (("return self.layers(inputs)", "raise ValueError('no')"), "a training step fails on rows of shape"),
        (("return self.layers(inputs)", "return None"), "it returns NoneType"),
        (("super().__init__()", "super().__init__(); raise SystemExit(0)"), "failed"),
        (("from torch import nn", "import sys; sys.exit(0)"), "importing it failed: SystemExit"),
    ],
)
def test_a_users_model_that_does_not_fit_is_refused_before_training(
    project: Project, change: tuple[str, str], message: str
) -> None:
    (project.folder / "net.py").write_text(CUSTOM.replace(*change))
    code, _, err = project.run("train", *WORDS)
    assert code == 2
    assert len(err) == 1
    assert message in err[0]


def test_a_loss_that_becomes_infinite_ends_with_4_and_names_the_step(project: Project) -> None:
    code, _, err = project.run("train", "data.source=diabetes", "train.lr=1e20", "train.optimizer.name=sgd")
    assert code == 4
    assert len(err) == 1
    assert "train: epoch" in err[0]
    assert "lower train.lr" in err[0]


def test_a_model_file_that_is_not_there_is_refused_by_name_and_a_finished_run_does_without_it(project: Project) -> None:
    code, _, err = project.run("train", *WORDS)
    assert (code, err) == (2, ["model.file: there is no file 'net.py'; paths are relative to the folder of the command"])
    (project.folder / "net.py").write_text(CUSTOM)
    project.run("train", *WORDS)
    (project.folder / "net.py").unlink()
    code, _, err = project.run("export", "--run", project.latest.name)
    assert (code, err) == (0, [])


def test_a_metric_that_is_not_finite_breaks_neither_manifest_nor_history(project: Project) -> None:
    words = ("data.source=diabetes", "train.optimizer.name=sgd", "train.lr=2e9", "train.batch_size=300", "train.epochs=1")
    assert project.run("train", *words)[0] in (0, 4)
    assert project.run("train", *words)[0] in (0, 4)
    for history in project.folder.glob("runs/*/train*/history.jsonl"):
        assert "Infinity" not in history.read_text()
        assert "NaN" not in history.read_text()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "train.early_stopping.monitor=val/acuracy",
            "no metric is called 'val/acuracy'; did you mean 'val/accuracy'? there are: train/loss",
        ),
        ("train.device=mps", "sees no mps here"),
        ("model.name=cnn", "this one takes images"),
    ],
)
def test_what_only_shows_at_the_start_of_training_is_one_line_too(project: Project, word: str, message: str) -> None:
    code, _, err = project.run("train", word)
    assert code == 2
    assert len(err) == 1
    assert message in err[0]
