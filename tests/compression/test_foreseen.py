"""What a config alone shows to be wrong with prune and distill is told before anything is trained."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.compression.foreseen import check_distill, check_features, check_prune
from pipeline.config import load
from pipeline.errors import GateRefused, UserError
from pipeline.runs import Request, new_run

CUSTOM = "{name: custom, file: net.py, class: Net}"


@pytest.mark.parametrize("words", [(), ("model.name=cnn", "prune.importance=bn_scale"), (f"model={CUSTOM}",)])
def test_prune_settings_that_may_fit_pass(words: tuple[str, ...]) -> None:
    check_prune(load(None, words))


def test_an_importance_that_the_model_has_no_numbers_for_is_refused() -> None:
    message = r"^prune.importance: bn_scale needs channels with batch normalization, and model.name=mlp has none; set prune.imp"
    with pytest.raises(UserError, match=message):
        check_prune(load(None, ["prune.importance=bn_scale"]))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            (f"model={CUSTOM}",),
            r"^distill.student: null stands for half the widths of the model, which a custom model lacks; name",
        ),
        (
            (f"distill.student={CUSTOM}",),
            r"^distill.student.file: 'net.py' cannot be read \(No such file or directory\); paths are",
        ),
        (
            ("distill.teacher=nobody",),
            r"^distill.teacher: 'nobody': there is no such run below .*/; the newest are \d{8}T\d{6}Z-one",
        ),
    ],
)
def test_a_student_or_a_teacher_that_is_not_there_is_refused(
    words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new_run(tmp_path, Request("0" * 64, {"name": "one"}, {}))
    with pytest.raises(UserError, match=says):
        check_distill(load(None, words), tmp_path)


def test_a_teacher_whose_training_is_not_complete_is_refused_and_a_complete_one_is_not(tmp_path: Path) -> None:
    run = new_run(tmp_path, Request("0" * 64, {"name": "one"}, {}))
    config = load(None, [f"distill.teacher={run.id}"])
    with pytest.raises(UserError, match=rf"^distill.teacher: '{run.id}': this run has no complete training; train it, or name"):
        check_distill(config, tmp_path)
    (run.folder / "train").mkdir()
    (run.folder / "train" / "manifest.json").write_text("{}")
    check_distill(config, tmp_path)


@pytest.mark.parametrize("words", [("distill.student={name: mlp, hidden: [64, 32]}",), ("model.hidden=[1, 1]",)])
def test_a_student_that_is_the_model_itself_is_refused_unless_another_run_teaches(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(GateRefused, match=r"^distill: the student is the same network as its teacher, which is the model, so"):
        check_distill(load(None, words), tmp_path)
    with pytest.raises(UserError, match="there is no such run"):
        check_distill(load(None, [*words, "distill.teacher=other"]), tmp_path)


def test_features_of_a_network_that_is_compiled_by_all_means_are_refused() -> None:
    message = (
        r"^train.compile: true, and distill.feature_weight 1 looks into the network while it computes; set train.compile=false"
    )
    with pytest.raises(UserError, match=message):
        check_features(load(None, ["train.compile=true", "distill.feature_weight=1.0"]))
    for words in (["train.compile=auto", "distill.feature_weight=1.0"], ["train.compile=true"]):
        check_features(load(None, words))


def test_the_checks_cost_no_import_of_torch() -> None:
    code = "import sys, pipeline.compression.foreseen; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
