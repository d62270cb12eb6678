"""Cross-validation: every row that is no test row is scored once, by a training that has not seen it."""

import json
import os
import signal
from typing import Any

import pytest

from pipeline.artifacts import Prepared
from pipeline.errors import Interrupted
from pipeline.training import folds
from pipeline.training.fitting import fit_assembled
from pipeline.training.folds import summarized
from tests.conftest import Project

WORDS = ("train.folds=3", "train.epochs=4")


def lines(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.latest / "train" / "folds.jsonl").read_text().splitlines()]


def test_each_row_outside_of_test_is_scored_once_and_the_summary_gives_mean_and_deviation(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    trained = folds._trained

    def watched(config: Any, prepared: Prepared, *rest: Any) -> dict[str, Any]:
        parts = {split: set(prepared.row_numbers(split).tolist()) for split in ("train", "validation", "test")}
        assert not parts["train"] & parts["test"]
        assert not parts["validation"] & parts["test"]
        assert not parts["train"] & parts["validation"]
        scored.extend(parts["test"])
        return trained(config, prepared, *rest)

    monkeypatch.setattr(folds, "_trained", watched)
    code, out, err = project.run("train", *WORDS)
    assert (code, err) == (0, [])
    whole = Prepared.open(project.latest / "prepare")
    assert sorted(scored) == sorted([*whole.row_numbers("train"), *whole.row_numbers("validation")])
    found = lines(project)
    assert [line["fold"] for line in found] == [1, 2, 3]
    assert sum(line["rows"] for line in found) == len(scored)
    values = [line["accuracy"] for line in found]
    mean = sum(values) / 3
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert f"cross-validated accuracy {mean:.4g} ± {deviation:.2g}" in out[-1]
    manifest = json.loads((project.latest / "train" / "manifest.json").read_text())
    assert manifest["metrics"]["cv/accuracy"] == pytest.approx(mean)
    assert manifest["metrics"]["cv/accuracy.std"] == pytest.approx(deviation)


def test_each_fold_has_its_own_statistics(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shifts = []
    trained = folds._trained

    def watched(config: Any, prepared: Prepared, *rest: Any) -> dict[str, Any]:
        shifts.append(prepared.statistics["inputs"]["shift"])
        return trained(config, prepared, *rest)

    monkeypatch.setattr(folds, "_trained", watched)
    project.run("train", *WORDS)
    shifts.append(Prepared.open(project.latest / "prepare").statistics["inputs"]["shift"])
    assert len({str(shift) for shift in shifts}) == 4


def test_a_training_that_is_stopped_between_folds_goes_on_with_the_next_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("train", *WORDS)
    expected = lines(project)
    trained = folds._trained
    with monkeypatch.context() as patch:
        count = 0

        def stopped(*arguments: Any) -> dict[str, Any]:
            nonlocal count
            count += 1
            if count == 3:
                raise Interrupted("train: stopped")
            return trained(*arguments)

        patch.setattr(folds, "_trained", stopped)
        assert project.run("train", *WORDS, "name=again")[0] == 130
    with monkeypatch.context() as patch:
        left = [1]  # a second fold would find it empty
        patch.setattr(folds, "_trained", lambda *arguments: trained(*arguments) if left.pop() else {})
        assert project.run("train", *WORDS, "name=again", "--resume")[0] == 0
    assert lines(project) == expected


def test_a_resume_with_other_settings_scores_every_fold_anew(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = folds._trained
    made: list[int] = []

    def counted(*arguments: Any) -> dict[str, Any]:
        made.append(len(made))
        if len(made) == 3:
            raise Interrupted("train: stopped")
        return trained(*arguments)

    monkeypatch.setattr(folds, "_trained", counted)
    assert project.run("train", *WORDS)[0] == 130
    assert project.run("train", *WORDS, "train.lr=0.03", "--resume", "--force")[0] == 0
    assert len(made) == 3 + len(lines(project))


def test_an_error_in_a_users_model_is_one_line_in_a_fold_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "frail.py").write_text(
        "from pathlib import Path\n\nimport torch\n\n\n"
        "class Frail(torch.nn.Module):\n"
        "    def __init__(self, input_shape, outputs):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(*input_shape, outputs)\n\n"
        "    def forward(self, rows):\n"
        "        if Path('broken').exists():\n"
        "            raise RuntimeError('no luck')\n"
        "        return self.layer(rows)\n"
    )

    def broken(*arguments: Any) -> None:
        (project.folder / "broken").touch()
        fit_assembled(*arguments)

    monkeypatch.setattr("pipeline.training.retraining.fit_assembled", broken)
    code, _, errors = project.run("train", *WORDS, "model={name: custom, file: frail.py, class: Frail}")
    assert (code, errors) == (2, ["model: it fails in epoch 1, after step 0: RuntimeError: no luck"])


def test_a_signal_in_a_fold_says_which_one_and_names_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = folds._trained

    def stopped(*arguments: Any) -> dict[str, Any]:
        if (project.folder / "runs").exists() and any(project.folder.glob("runs/*/train.partial/folds.jsonl")):
            os.kill(os.getpid(), signal.SIGINT)
        return trained(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(folds, "_trained", stopped)
        code, _, err = project.run("train", *WORDS)
    (run,) = [path.parent.name for path in project.folder.glob("runs/*/train.partial")]
    assert code == 130
    (line,) = err
    assert line.startswith("train: stopped by SIGINT in fold 2 of 3; finished folds are kept; go on with: ")
    assert line.endswith(f"python -m pipeline train --resume --run {run}")
    left = project.folder / "runs" / run / "train.partial" / "fold-killed"  # as SIGKILL leaves one
    left.mkdir()
    (left / "best.pt").write_bytes(b"?")
    assert project.run("train", "--resume", "--run", run, config=None)[0] == 0
    manifest = json.loads((project.folder / "runs" / run / "train" / "manifest.json").read_text())
    assert not [name for name in manifest["makes"] if name.startswith("fold-")]
    assert [line["fold"] for line in lines(project)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data={path: rows.csv, target: y, columns: {who: ignore}}", "train.folds=100"], "train.folds: 100: there are 7"),
        (
            ["data={path: rows.csv, target: y}", "prepare={split: grouped, split_column: who}", "train.folds=9"],
            "train.folds: 9 folds need at least 9 groups of rows that are not test, and there are ",
        ),
    ],
)
def test_impossible_folds_are_refused_before_anything_is_trained(project: Project, words: list[str], message: str) -> None:
    rows = "".join(f"{n / 7},p{n % 8},{n % 3}.5\n" for n in range(90))
    (project.folder / "rows.csv").write_text("a,who,y\n" + rows)
    code, _, err = project.run("train", *words)
    assert code == 2
    assert err[0].startswith(message)
    assert not list(project.folder.glob("runs/*/train.partial/*.pt"))


def test_folds_of_a_split_by_time_are_refused(project: Project) -> None:
    rows = "".join(f"{n / 7},2026-01-{n % 28 + 1:02},{n % 3}.5\n" for n in range(90))
    (project.folder / "rows.csv").write_text("a,day,y\n" + rows)
    data = "data={path: rows.csv, target: y}"
    code, _, err = project.run("train", data, "prepare={split: time, split_column: day}", *WORDS)
    assert code == 2
    assert err[0].startswith("train.folds: 3: folds would train on rows that are later than those they are scored on")


def test_a_metric_that_a_fold_has_not_counts_for_nothing() -> None:
    found = summarized([{"fold": 1, "rows": 9, "auroc": 0.5}, {"fold": 2, "rows": 9, "auroc": None}])
    assert found["auroc"] == 0.5
    assert str(found["auroc.std"]) == "nan"
