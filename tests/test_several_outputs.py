"""Rows with several labels, and with several values: trained, evaluated, exported and answered like any others."""

import csv
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as reference

from pipeline.errors import Interrupted, UserError
from pipeline.reporting.answers import images_figure
from pipeline.sanity import full_checks, quick_checks
from pipeline.stages import Resume
from pipeline.tracking import Tracker
from pipeline.training import FitState
from pipeline.training.assembly import assemble
from pipeline.training.deployed import answers, deployable_of
from pipeline.training.report import Report
from serving.answers import answers as answers_of
from serving.predictor import Predictor
from tests.made import LABELS, VALUES, Made, images, prepared_of, table
from tests.monitoring.trainings import Collected

TASKS = ("multilabel", "regression")
Begin = Callable[..., Made]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Begin]:
    """Begin a run on a made table of a task, or on made images, set by words."""
    threads, count = torch.get_num_threads(), iter(range(9))

    def begin(task: str, *words: str) -> Made:
        root = tmp_path / f"{task}-{next(count)}"
        rows = images() if task == "images" else table(task)
        return Made(root, prepared_of(root, *rows), words, Tracker("made", [Collected()]))

    yield begin
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return a run of a task whose stages are complete; made once, tests must not change it."""
    done: dict[str, Made] = {}

    def of(task: str) -> Made:
        if task not in done:
            root = tmp_path_factory.mktemp(task)
            words = ("train.epochs=30", "train.lr=0.01", "train.batch_size=16")
            run = Made(root, prepared_of(root, *table(task)), words, Tracker("made", [Collected()]))
            for stage in ("train", "evaluate", "export"):
                run.run(stage)
            done[task] = run
        return done[task]

    return of


def history(run: Made) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.model.read("history.jsonl").splitlines()]


def evaluated(run: Made) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.root / "run" / "evaluate" / "metrics.json").read_text())
    return found


def scored(run: Made) -> tuple[Any, Any]:
    """The model's answers to the test rows, and their targets."""
    inputs, targets = run.prepared.split("test")
    return answers(deployable_of(run.prepared, run.model), inputs), targets


def test_labels_are_learned_and_every_number_of_the_history_is_one_of_labels(finished: Callable[[str], Made]) -> None:
    lines = history(finished("multilabel"))
    names = {name.removeprefix("val/") for name in lines[-1] if name.startswith("val/")}
    assert names == {"loss", "bce", "f1", "f1_micro", "precision", "recall", "hamming", "exact_match", "auroc"}
    assert lines[-1]["val/f1"] > 0.8
    assert lines[-1]["val/loss"] == pytest.approx(lines[-1]["val/bce"], rel=1e-5), "the default loss is binary cross entropy"


def test_several_values_are_learned_in_their_own_units(finished: Callable[[str], Made]) -> None:
    last = history(finished("regression"))[-1]
    assert last["val/r2"] > 0.9
    given, targets = scored(finished("regression"))
    assert np.abs(given.mean(axis=0) - targets.mean(axis=0)).max() < 3
    assert np.corrcoef(given[:, 0], targets[:, 0])[0, 1] > 0.95
    assert np.corrcoef(given[:, 1], targets[:, 1])[0, 1] > 0.95


def test_evaluation_of_labels_has_intervals_a_table_by_label_and_a_picture(finished: Callable[[str], Made]) -> None:
    run = finished("multilabel")
    found, (given, targets) = evaluated(run), scored(run)
    assert found["metrics"]["f1"]["value"] == pytest.approx(reference.f1_score(targets, given >= 0.5, average="macro"))
    assert found["metrics"]["exact_match"]["value"] == reference.accuracy_score(targets, given >= 0.5)
    assert {name: number["method"] for name, number in found["metrics"].items() if number["method"] == "wilson"} == {
        "exact_match": "wilson"
    }
    assert found["threshold"] == 0.5
    assert [row["class"] for row in found["per_class"]] == list(LABELS)
    assert [row["support"] for row in found["per_class"]] == targets.sum(axis=0).tolist()
    expected = reference.multilabel_confusion_matrix(targets, given >= 0.5)
    assert found["confusion_matrices"] == expected.tolist()
    for row, value in zip(found["per_class"], reference.recall_score(targets, given >= 0.5, average=None), strict=True):
        assert row["recall"]["value"] == pytest.approx(value)
        assert row["recall"]["low"] < value <= row["recall"]["high"]
    with Image.open(run.root / "run" / "evaluate" / "labels.png") as picture:
        assert min(picture.size) > 150


def test_evaluation_of_values_has_means_over_outputs_and_an_error_of_each(finished: Callable[[str], Made]) -> None:
    run = finished("regression")
    found, (given, targets) = evaluated(run)["metrics"], scored(run)
    each = [reference.root_mean_squared_error(targets[:, index], given[:, index]) for index in range(2)]
    assert [found[f"rmse.{name}"]["value"] for name in VALUES] == pytest.approx(each, rel=1e-5)
    assert found["rmse"]["value"] == pytest.approx(np.mean(each), rel=1e-5)
    assert found["rmse.weight"]["low"] < found["rmse.weight"]["value"] < found["rmse.weight"]["high"]
    assert (run.root / "run" / "evaluate" / "residuals.png").is_file()


@pytest.mark.parametrize("task", TASKS)
def test_every_scored_row_is_in_a_table_with_its_place_in_the_source(finished: Callable[[str], Made], task: str) -> None:
    run = finished(task)
    given, targets = scored(run)
    names = LABELS if task == "multilabel" else VALUES
    with (run.root / "run" / "evaluate" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == run.prepared.row_numbers("test").tolist()
    source = table(task)[1]
    for index, name in enumerate(names):
        assert [float(line[f"target {name}"]) for line in lines] == pytest.approx(targets[:, index].tolist(), rel=1e-6)
        numbers = np.array([line[f"{'score' if task == 'multilabel' else 'prediction'} {name}"] for line in lines], np.float32)
        assert np.array_equal(numbers, given[:, index]), "no digit is lost"
        assert [source[int(line["row"]), index] for line in lines] == targets[:, index].tolist()
    if task == "multilabel":
        assert [int(line["prediction red"]) for line in lines] == (given[:, 1] >= 0.5).astype(int).tolist()


@pytest.mark.parametrize("task", TASKS)
def test_the_service_answers_like_the_evaluated_model(finished: Callable[[str], Made], task: str) -> None:
    run = finished(task)
    bundle = run.exported.open_bundle()
    predictor = Predictor.from_bundle(bundle)
    predictor.check(bundle.golden())
    given, _ = scored(run)
    replies = answers_of(predictor.predict(run.prepared.split("test")[0]), predictor.schema)
    for row, reply in zip(given, replies, strict=True):
        if task == "regression":
            assert list(reply) == ["values"]
            assert list(reply["values"]) == list(VALUES)
            assert list(reply["values"].values()) == pytest.approx(row.tolist(), rel=1e-4)
        else:
            assert list(reply) == ["labels", "probabilities"]
            assert reply["labels"] == [label for label, share in zip(LABELS, row, strict=True) if share >= 0.5]
            assert reply["probabilities"] == pytest.approx(dict(zip(LABELS, row.tolist(), strict=True)), abs=1e-5)
    if task == "multilabel":
        assert {len(reply["labels"]) for reply in replies} >= {0, 1, 2}, "rows with none, one and several labels"


def test_parity_and_reference_of_labels_and_values(finished: Callable[[str], Made]) -> None:
    of_labels, of_values = (json.loads(finished(task).exported.read("parity.json")) for task in TASKS)
    for proof in of_labels.values():
        assert (proof["argmax_agreement"], proof["label_agreement"], proof["passed"]) == (None, 1, True)
    for proof in of_values.values():
        assert (proof["argmax_agreement"], proof["label_agreement"], proof["passed"]) == (None, None, True)
    bundles = [finished(task).exported.open_bundle() for task in TASKS]
    labels, values = (json.loads(bundle.read("reference.json"))["predictions"] for bundle in bundles)
    train, _ = finished("multilabel").prepared.split("train")
    given = answers(deployable_of(finished("multilabel").prepared, finished("multilabel").model), train)
    assert labels["labels"] == pytest.approx(dict(zip(LABELS, (given >= 0.5).mean(axis=0).tolist(), strict=True)))
    assert 1.5 < values["height"]["mean"] < 1.9
    assert 60 < values["weight"]["mean"] < 80
    golden = np.array(bundles[0].golden().outputs)
    assert ((golden >= 0.5).sum(axis=0) > 0).all(), "golden rows show each label"


class Ends(Report):
    """Ends a training in the middle of its second epoch, as a terminal does."""

    def on_batch_end(self, state: FitState) -> None:
        super().on_batch_end(state)
        if state.step == 13:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_a_training_that_is_interrupted_in_an_epoch_ends_as_if_left_alone(
    made: Begin, monkeypatch: pytest.MonkeyPatch, task: str, in_memory: str
) -> None:
    words = (f"train.in_memory={in_memory}", "train.batch_size=16")
    alone, resumed = made(task, *words), made(task, *words)
    alone.run("train")
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="in epoch 2 after step 13"):
        patch.setattr("pipeline.stages.train.Report", Ends)
        resumed.run("train")
    resumed.run("train", resume=Resume())
    assert alone.model.read("best.pt") == resumed.model.read("best.pt")
    lines = [[{**line, "seconds": 0} for line in history(run)] for run in (alone, resumed)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("task", [*TASKS, "images"])
def test_sanity_finds_nothing_wrong_with_such_rows(made: Begin, task: str) -> None:
    run = made(task, "export.formats=[torchscript]", "export.bundle=torchscript")
    findings = {finding.check: finding for finding in full_checks(assemble(run.config, run.prepared), run.config)}
    assert {finding.level for finding in findings.values()} == {"PASS"}, findings
    if task == "multilabel":
        assert "ln(2), what equal chances for each of 3 labels give" in findings["first loss"].text
        assert "target scale" not in findings
    if task == "regression":
        assert "what always answering the mean gives" in findings["first loss"].text
        assert findings["target scale"].text.startswith(("height as the loss", "weight as the loss"))


@pytest.mark.parametrize("task", TASKS)
def test_sanity_tells_targets_that_were_shuffled_against_their_rows(tmp_path: Path, task: str) -> None:
    inputs, targets, schema = table(task)
    prepared = prepared_of(tmp_path, inputs, np.random.default_rng(0).permutation(targets), schema)
    run = Made(tmp_path, prepared, ("export.formats=[torchscript]", "export.bundle=torchscript"), Tracker("made", []))
    findings = {finding.check: finding for finding in full_checks(assemble(run.config, run.prepared), run.config)}
    assert findings["learn by heart"].level == "PASS"
    assert findings["labels fit"].level == "WARN"


def test_sanity_names_the_value_whose_scale_is_off(tmp_path: Path) -> None:
    inputs, targets, schema = table("regression")
    prepared = prepared_of(tmp_path, inputs, targets, schema, normalize_target=False)
    run = Made(tmp_path, prepared, (), Tracker("made", []))
    findings = {finding.check: finding for finding in quick_checks(assemble(run.config, run.prepared), run.config, budget_s=60)}
    assert findings["target scale"].level == "FAIL"
    assert findings["target scale"].text.startswith("weight as the loss gets it has mean 69.")


def shown(run: Made) -> tuple[set[str], Collected]:
    collected = Collected()
    replace(run, tracker=Tracker("train", [collected])).run("train")
    assert collected.events("monitor_failed") == []
    pictures = {tag: path for record in collected.of("images") for tag, path in record.values.items()}
    for path in pictures.values():
        with Image.open(run.root / "run" / "train" / path) as picture:
            assert min(picture.size) > 20
    return set(pictures), collected


def test_monitors_of_labels_show_each_label_and_no_matrix(made: Begin) -> None:
    run = made("multilabel", "monitor.embedding=true", "train.epochs=2")
    pictures, collected = shown(run)
    assert pictures >= {"labels", "roc"}
    assert "confusion" not in pictures
    assert set(collected.numbers("val/f1/")) == {f"val/f1/{label}" for label in LABELS}
    (record, *_) = collected.of("pr_curves")
    assert set(record.values) == {*(f"pr/{label}" for label in LABELS), "pr/micro"}
    (record,) = collected.of("embedding")
    _, targets = run.prepared.split("validation")
    assert record.values["labels"][:5] == [
        ", ".join(label for label, has in zip(LABELS, row, strict=True) if has) or "none" for row in targets[:5]
    ]


def test_monitors_of_several_values_show_each_value(made: Begin) -> None:
    run = made("regression", "monitor.embedding=true", "train.epochs=2")
    pictures, collected = shown(run)
    assert pictures == {"residuals", "predicted"}
    (record,) = collected.of("embedding")
    assert record.values["labels"][0] == ", ".join(f"{value:.6g}" for value in run.prepared.split("validation")[1][0])


def test_images_with_several_labels_are_shown_where_a_label_is_wrong(made: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []

    def keep(path: Path, images: Any, above: list[str], **words: Any) -> None:
        titles.extend(above)
        images_figure(path, images, above, **words)

    monkeypatch.setattr("pipeline.monitoring.pictures.images_figure", keep)
    words = ("model.name=cnn", "model.hidden=8", "model.channels=[4]", "train.epochs=1")
    pictures, _ = shown(made("images", *words))
    assert pictures >= {"labels", "misclassified", "filters"}
    texts = {"none", "upper", "left", "upper, left"}
    for title in titles:
        true, _, rest = title.replace("\n→", " →").partition(" → ")
        predicted, _, sure = rest.partition("\n")
        assert {true, predicted} <= texts
        assert true != predicted
        assert 50 <= int(sure.removesuffix("%")) <= 100


def test_augmentation_mixes_labels_and_values_in_training(made: Begin) -> None:
    for task in ("images", "regression"):
        run = made(task, "augment.mixup_alpha=0.4", "train.epochs=2")
        run.run("train")
        last = history(run)[-1]
        assert all(np.isfinite(last[f"train/{name}"]) for name in ("loss", "f1" if task == "images" else "rmse"))


def test_drawing_classes_equally_is_refused_where_a_row_has_several(made: Begin) -> None:
    run = made("multilabel", "train.sampling=balanced")
    with pytest.raises(UserError, match=r"train.sampling: balanced draws rows by their class, .* train.loss.class_weights=bal"):
        run.run("train")
    weighted = made("multilabel", "train.loss.class_weights=balanced", "train.epochs=1")
    assert weighted.run("train").metrics["val/f1"] > 0
    counts = assemble(weighted.config, weighted.prepared).rows.class_counts
    having = weighted.prepared.split("train")[1].sum(axis=0)
    assert counts.tolist() == [[144 - count, count] for count in having.tolist()]
