"""distill: a smaller network that answers like its teacher, beside the same network without one."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from pipeline.artifacts import Distilled, Exported, Model
from pipeline.errors import GateRefused, NonFiniteLoss, UserError
from pipeline.stages import distill
from pipeline.tracking import Tracker
from pipeline.training.retraining import retrain
from tests.conftest import Project
from tests.made import Made, prepared_of, table

SMALL = "distill.student={name: mlp, hidden: [4]}"
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, outputs, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, outputs))

    def forward(self, rows):
        return self.layers(rows)
"""
Begin = Callable[..., Made]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """Return a run of a task whose teacher is trained; trained once for a task, later words are of distill alone."""
    threads = torch.get_num_threads()
    roots: dict[str, Made] = {}

    def begin(task: str, *words: str) -> Made:
        if task not in roots:
            root = tmp_path_factory.mktemp(task.replace(" ", "-"))
            inputs, targets, schema = table("multilabel" if task == "classification" else task.removeprefix("one "))
            if task == "classification":
                schema, targets = (
                    msgspec.structs.replace(schema, task="classification"),
                    targets.sum(axis=1).astype(np.int64) % 3,
                )
            elif task == "one regression":
                schema, targets = msgspec.structs.replace(schema, target="height", targets=()), targets[:, 0]
            teaching = ("train.epochs=2", "train.lr=0.02", "train.batch_size=16", "model.hidden=[32]", SMALL)
            roots[task] = Made(root, prepared_of(root, inputs, targets, schema), teaching, Tracker("distill"))
            roots[task].run("train")
            _say_rows(roots[task])
        first = roots[task]
        return Made(first.root, first.prepared, [*first.words, *words], first.tracker)

    yield begin
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def _say_rows(made: Made) -> None:
    """Write down which rows a made teacher was trained on, as the runner does."""
    path = made.model.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"takes": {"prepared": made.prepared.digest}}))


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "distill" / "distill.json").read_text())
    return found


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "one regression"])
def test_a_student_that_listens_to_its_teacher_alone_answers_more_like_it_than_one_without(taught: Begin, task: str) -> None:
    made = taught(task, "distill.weight=1.0", "distill.temperature=2.0", "distill.epochs=25")
    outcome = made.run("distill")
    found = report(made.root / "run")
    # After two epochs the teacher is in doubt about rows that the other student comes to be sure of.
    assert found["student"]["from_teacher"] < 0.75 * found["without_teacher"]["from_teacher"]
    assert found["student"]["parameters"] == found["without_teacher"]["parameters"] < found["teacher"]["parameters"]
    assert found["student"]["bytes"] == (made.root / "run" / "distill" / "best.pt").stat().st_size < found["teacher"]["bytes"]
    metric = made.prepared.schema.headline
    shown = [f"{found[who]['validation'][metric]:.4g}" for who in ("student", "teacher", "without_teacher")]
    assert f"val/{metric} {shown[0]}, teacher {shown[1]}, without the teacher {shown[2]}; " in outcome.summary
    assert outcome.metrics[f"val/{metric}"] == pytest.approx(found["student"]["validation"][metric])
    assert outcome.metrics[f"teacher/val/{metric}"] == found["teacher"]["validation"][metric]
    assert outcome.metrics[f"without_teacher/val/{metric}"] == found["without_teacher"]["validation"][metric]


def test_the_teacher_is_all_that_the_two_students_differ_in(taught: Begin) -> None:
    made = taught("classification", "distill.weight=0.0", "train.sampling=balanced", "augment.mixup_alpha=0.2")
    made.run("distill")
    found = report(made.root / "run")
    assert found["student"] == found["without_teacher"]


def test_without_the_comparison_the_student_is_trained_once_and_keeps_its_own_epochs_and_rate(
    taught: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, float]] = []

    def counted(config: Any, *rest: Any, **options: Any) -> Any:
        trained.append((config.train.epochs, config.train.lr))
        return retrain(config, *rest, **options)

    monkeypatch.setattr(distill, "retrain", counted)
    made = taught("multilabel", "distill.baseline=false", "distill.epochs=2", "distill.lr=0.5", "distill.feature_weight=1.0")
    assert "without the teacher" not in made.run("distill").summary
    assert trained == [(2, 0.5)]
    assert report(made.root / "run")["without_teacher"] is None


def test_a_rate_that_is_too_high_ends_with_the_key_to_lower(taught: Begin) -> None:
    made = taught("regression", "distill.lr=1e30", "train.optimizer.name=sgd")
    with pytest.raises(NonFiniteLoss, match=r"^distill: epoch 1, step .*; lower distill.lr, "):
        made.run("distill")


def test_a_student_for_images_on_a_table_is_refused_with_keys_of_the_student(taught: Begin) -> None:
    with pytest.raises(
        UserError, match=r"^distill.student: this one takes images, .*; for tables set distill.student.name=mlp$"
    ):
        taught("classification", "distill.student={name: cnn}").run("distill")


def test_a_warmup_longer_than_the_student_s_training_is_shortened_with_it(taught: Begin) -> None:
    made = taught("classification", "distill.epochs=1", "train.schedule.warmup_epochs=1.5", "distill.baseline=false")
    made.run("distill")
    assert report(made.root / "run")["student"]["epochs"] == 1


def test_a_student_that_is_no_smaller_is_refused_before_it_is_trained(taught: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill, "retrain", None)
    with pytest.raises(GateRefused, match=r"distill: the student takes [\d,]+ bytes and its teacher [\d,]+, so nothing is g"):
        taught("classification", "distill.student.hidden=[32]").run("distill")


def test_a_custom_student_has_its_file_in_the_artifact(taught: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    student = "distill.student={name: custom, file: net.py, class: Net, args: {width: 3}}"
    made = taught("classification", student, "distill.epochs=2")
    with pytest.raises(UserError, match=r"distill.student.file: 'net.py' cannot be read \(No such file or directory\); paths"):
        made.run("distill")
    Path("net.py").write_text(NET)
    made.run("distill")
    Path("net.py").unlink()
    distilled = Distilled.open(made.root / "run" / "distill")
    assert distilled.read(Model.SOURCE).decode() == NET
    assert report(made.root / "run")["student"]["parameters"] == 4 * 3 + 3 + 3 * 3 + 3
    Path("net.py").write_text(NET)
    with pytest.raises(UserError, match=r"^distill.student.class: the file has no 'Nett'; its modules are: Net"):
        taught("classification", student.replace("class: Net", "class: Nett")).run("distill")


@pytest.mark.parametrize("moment", [1, 2])
def test_a_signal_in_either_training_leaves_no_student_that_could_be_taken_for_whole(
    taught: Begin, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    begun: list[int] = []

    def stopped(*arguments: Any, **options: Any) -> Any:
        begun.append(1)
        if len(begun) == moment:
            os.kill(os.getpid(), signal.SIGINT)
        return retrain(*arguments, **options)

    monkeypatch.setattr(distill, "retrain", stopped)
    made = taught("classification", "distill.epochs=2")
    with pytest.raises(Exception, match=r"^distill: stopped by SIGINT; give the command again to start it anew$"):
        made.run("distill")
    assert len(begun) == moment
    assert not list((made.root / "run" / "distill").glob("without-teacher-*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_from_the_command_line_to_a_proven_export(project: Project) -> None:
    code, out, err = project.run("distill", SMALL, "distill.epochs=2", "model.hidden=[64]")
    assert (code, err) == (0, [])
    assert out[-1].startswith("distill ")
    run = project.latest
    assert report(run)["teacher"]["run"] == run.name
    distilled = Distilled.open(run / "distill")
    assert set(distilled.manifest.makes) >= {"best.pt", "last.pt", "history.jsonl", "distill.json"}
    assert not [name for name in distilled.manifest.makes if name.startswith("without-teacher")]
    assert distilled.manifest.takes["model"] == Model.open(run / "train").digest
    words = ("export.variants=[train,distill]", "export.formats=[onnx]")
    code, out, err = project.run("export", SMALL, "distill.epochs=2", "model.hidden=[64]", *words)
    assert (code, err) == (0, [])
    assert any(line.startswith("distill ") and "skipped, unchanged" in line for line in out)
    listed = {one.variant: one for one in Exported.open(run / "export").listed}
    assert listed["distill"].parity["passed"]
    assert listed["distill"].checkpoint == distilled.manifest.makes["best.pt"].sha256 != listed["train"].checkpoint


def test_another_run_teaches_if_it_learned_from_the_very_same_rows(project: Project) -> None:
    assert project.run("train", "model.hidden=[64]", "train.epochs=1", "train.sanity=false")[0] == 0
    teacher = project.latest.name
    assert project.run("train", "model.hidden=[16]", "train.epochs=1", "train.sanity=false")[0] == 0
    own = project.latest.name
    words = (SMALL, "distill.epochs=1", "distill.baseline=false", "--run", own)
    assert project.run("distill", *words, f"distill.teacher={teacher}", config=None)[0] == 0
    assert report(project.latest)["teacher"]["run"] == teacher != own
    code, _, err = project.run("distill", *words, "distill.teacher=nobody", config=None)
    assert code == 2
    assert err == [f"distill.teacher: 'nobody': there is no such run below runs/; the newest are {own}, {teacher}"]
    before = Model.open(project.folder / "runs" / own / "train").manifest.takes["prepared"]
    assert project.run("train", "model.hidden=[64]", "train.epochs=1", "train.sanity=false", "prepare.split_seed=5")[0] == 0
    other = project.latest.name
    after = Model.open(project.latest / "train").manifest.takes["prepared"]
    code, _, err = project.run("distill", *words, f"distill.teacher={other}", config=None)
    assert code == 2
    assert err[0].startswith(
        f"distill.teacher: '{other}': it was trained on data {after[:12]}, and the student gets {before[:12]};"
    )
    (project.folder / "runs" / teacher / "train" / "manifest.json").unlink()
    code, _, err = project.run("distill", *words, f"distill.teacher={teacher}", "distill.lr=0.1", config=None)
    assert (code, err) == (
        2,
        [f"distill.teacher: '{teacher}': this run has no complete training; train it, or name another run"],
    )
