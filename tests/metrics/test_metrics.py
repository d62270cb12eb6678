"""Metrics agree with scikit-learn's, and intervals cover what they promise."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn import metrics as reference

from pipeline.metrics.intervals import bootstrap, wilson
from pipeline.metrics.score import confusion_matrix, label_matrices, per_class, score
from pipeline.metrics.tasks import (
    auroc,
    class_metrics,
    classification_metrics,
    label_confusion,
    label_metrics,
    lower_is_better,
    regression_metrics,
    rmse_of_each,
)
from serving.schema import Schema

CLASSES = ("a", "b", "c")


def schema(task: str, *targets: str) -> Schema:
    classes = () if task == "regression" else CLASSES
    return Schema(
        task=task,  # type: ignore[arg-type]
        kind="table",
        shape=(2,),
        target="y",
        minimum=0,
        maximum=1,
        classes=classes,
        targets=targets,
    )


def labels(rows: int = 200) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    true = generator.integers(0, 3, rows)
    return np.where(generator.random(rows) < 0.7, true, generator.integers(0, 3, rows)), true


def test_classification_metrics_agree_with_scikit_learn() -> None:
    _, true = labels()
    answers = np.random.default_rng(1).dirichlet([1, 1, 1], 200)
    answers[np.arange(200), true] += 0.3
    answers /= answers.sum(axis=1, keepdims=True)
    predicted = answers.argmax(1)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(true, predicted, average="macro")
    negatives = [np.mean(predicted[true != label] == label) for label in range(3)]
    expected = {
        "cross_entropy": reference.log_loss(true, answers),
        "accuracy": reference.accuracy_score(true, predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "tpr": recall,
        "fpr": np.mean(negatives),
        "top2": reference.top_k_accuracy_score(true, answers, k=2),
    }
    given, targets = torch.from_numpy(answers), torch.from_numpy(true)
    assert classification_metrics(given, targets, top_k=2) == pytest.approx(expected, abs=1e-9)
    assert "top3" not in classification_metrics(given, targets, top_k=3), "of three classes the true one is always among three"
    assert auroc(given, targets) == pytest.approx(reference.roc_auc_score(true, answers, multi_class="ovr"), abs=1e-9)
    of_each = reference.precision_recall_fscore_support(true, predicted)
    found = class_metrics(given, targets)
    for name, values in zip(("precision", "recall", "f1"), of_each, strict=False):
        assert found[name] == pytest.approx(values.tolist())


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=2, max_size=40))
def test_auroc_of_two_classes_agrees_with_scikit_learn_also_where_scores_tie(rows: list[tuple[float, bool]]) -> None:
    scores, true = np.array([score for score, _ in rows]), np.array([int(label) for _, label in rows])
    found = auroc(torch.from_numpy(np.stack([1 - scores, scores], axis=1)), torch.from_numpy(true))
    if len(set(true)) == 1:
        assert np.isnan(found), "with one class there is nothing to tell apart"
    else:
        assert found == pytest.approx(reference.roc_auc_score(true, scores), abs=1e-12)


def several_labels(rows: int = 200) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (rows, 3), some of them exactly 0.5, and labels; some rows have none, some all."""
    generator = np.random.default_rng(2)
    true = (generator.random((rows, 3)) < [0.5, 0.3, 0.1]).astype(np.float32)
    given = np.clip(0.4 * true + generator.random((rows, 3)) * 0.8 - 0.1, 0.01, 0.99).astype(np.float32)
    given[:5, 0] = 0.5
    return given, true


def test_metrics_of_labels_agree_with_scikit_learn() -> None:
    given, true = several_labels()
    decided = given >= 0.5
    precision, recall, f1, _ = reference.precision_recall_fscore_support(true, decided, average="macro")
    expected = {
        "bce": np.mean([reference.log_loss(true[:, index], given[:, index].astype(np.float64)) for index in range(3)]),
        "f1": f1,
        "f1_micro": reference.f1_score(true, decided, average="micro"),
        "precision": precision,
        "recall": recall,
        "hamming": reference.hamming_loss(true, decided),
        "exact_match": reference.accuracy_score(true, decided),
    }
    answers, targets = torch.from_numpy(given), torch.from_numpy(true)
    assert label_metrics(answers, targets) == pytest.approx(expected, abs=1e-6)
    assert auroc(answers, targets) == pytest.approx(reference.roc_auc_score(true, given), abs=1e-9)
    assert label_confusion(answers, targets).tolist() == reference.multilabel_confusion_matrix(true, decided).tolist()
    found = class_metrics(answers, targets)
    for name, values in zip(
        ("precision", "recall", "f1"), reference.precision_recall_fscore_support(true, decided), strict=False
    ):
        assert found[name] == pytest.approx(values.tolist())


def test_labels_that_never_occur_count_in_no_mean_and_one_that_is_missed_counts_as_zero() -> None:
    true = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    given = torch.tensor([[0.9, 0.1, 0.2], [0.1, 0.1, 0.3]])  # the first is right, the second never occurs, the third is missed
    found = label_metrics(given, true)
    assert (found["f1"], found["precision"], found["recall"]) == (0.5, 0.5, 0.5)
    assert found["exact_match"] == 0
    assert auroc(given, true) == 1, "of the first alone: the third is in all rows"
    nothing = label_metrics(torch.zeros(2, 3), torch.zeros(2, 3))
    assert np.isnan(nothing["f1"])
    assert (nothing["exact_match"], nothing["hamming"], nothing["bce"]) == (1, 0, 0)


def test_labels_of_mixed_rows_are_those_with_the_larger_share() -> None:
    given = torch.tensor([[0.9, 0.2], [0.3, 0.8]])
    mixed, likelier = torch.tensor([[0.7, 0.4], [0.1, 0.6]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert label_metrics(given, mixed) == label_metrics(given, likelier)


def test_scores_of_labels_have_intervals_around_them() -> None:
    given, true = several_labels()
    scored = score(given, true, schema("multilabel"), confidence=0.95, resamples=200, seed=0)
    assert set(scored) == {"bce", "f1", "f1_micro", "precision", "recall", "hamming", "exact_match", "auroc"}
    for name, interval in scored.items():
        assert interval.low < interval.value < interval.high, name
    whole = int((true == (given >= 0.5)).all(axis=1).sum())
    assert scored["exact_match"] == wilson(whole, 200, confidence=0.95)
    assert {interval.method for name, interval in scored.items() if name != "exact_match"} == {"bootstrap"}


def test_the_table_of_labels_comes_from_their_matrices() -> None:
    given = np.array([[0.9, 0.9, 0.1], [0.9, 0.2, 0.1], [0.2, 0.6, 0.1]], dtype=np.float32)
    true = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]], dtype=np.float32)
    table = per_class(label_matrices(given, true), CLASSES, confidence=0.95)
    assert [row["support"] for row in table] == [2, 3, 0]
    assert [row["f1"] for row in table] == [0.5, 0.8, None]
    assert table[0]["recall"] == wilson(1, 2, confidence=0.95)
    assert table[1]["precision"] == wilson(2, 2, confidence=0.95)
    assert (table[2]["precision"], table[2]["recall"]) == (None, None)


def test_of_two_classes_the_rates_are_the_second_ones() -> None:
    answers = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    found = classification_metrics(answers, torch.tensor([0, 1, 0, 1]))
    assert (found["tpr"], found["fpr"]) == (0.5, 0.5)
    found = classification_metrics(answers, torch.tensor([0, 1, 1, 1]))
    assert [found["tpr"], found["fpr"]] == pytest.approx([2 / 3, 0.0])


def test_regression_metrics_agree_with_scikit_learn_in_the_targets_unit() -> None:
    generator = np.random.default_rng(0)
    true = generator.uniform(25, 346, 100)
    predicted = true + generator.normal(0, 50, 100)
    found = regression_metrics(torch.from_numpy(predicted), torch.from_numpy(true))
    assert found == pytest.approx(
        {
            "mse": reference.mean_squared_error(true, predicted),
            "rmse": reference.root_mean_squared_error(true, predicted),
            "mae": reference.mean_absolute_error(true, predicted),
            "mape": reference.mean_absolute_percentage_error(true, predicted),
            "max_error": reference.max_error(true, predicted),
            "r2": reference.r2_score(true, predicted),
        },
        rel=1e-6,
    )


def several_values() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    true = generator.uniform([1, 100, -5], [2, 900, 5], (100, 3)).astype(np.float32)
    return (true + generator.normal(0, [0.1, 70, 2], true.shape)).astype(np.float32), true


def test_numbers_of_several_values_are_means_over_the_outputs_as_in_scikit_learn() -> None:
    predicted, true = several_values()
    each = reference.root_mean_squared_error(true, predicted, multioutput="raw_values")
    largest = [reference.max_error(true[:, index], predicted[:, index]) for index in range(3)]
    found = regression_metrics(torch.from_numpy(predicted), torch.from_numpy(true))
    assert found == pytest.approx(
        {
            "mse": reference.mean_squared_error(true, predicted),
            "rmse": np.mean(each),
            "mae": reference.mean_absolute_error(true, predicted),
            "mape": reference.mean_absolute_percentage_error(true, predicted),
            "max_error": np.mean(largest),
            "r2": reference.r2_score(true, predicted),
        },
        rel=1e-5,
    )
    names = rmse_of_each(torch.from_numpy(predicted), torch.from_numpy(true), ["a", "b.c", "km/h"])
    assert names == pytest.approx({"rmse.a": each[0], "rmse.b.c": each[1], "rmse.km/h": each[2]}, rel=1e-5)
    scored = score(predicted, true, schema("regression", "a", "b.c", "km/h"), confidence=0.95, resamples=100, seed=0)
    assert set(scored) == set(found) | set(names)
    assert all(interval.low < interval.value < interval.high for name, interval in scored.items() if "max" not in name)


def test_scores_are_metrics_of_the_answers_with_the_point_inside_its_interval() -> None:
    _, true = labels()
    answers = np.random.default_rng(1).dirichlet([1, 1, 1], 200).astype(np.float32)
    scored = score(answers, true, schema("classification"), confidence=0.95, resamples=200, seed=0)
    assert scored["cross_entropy"].value == pytest.approx(reference.log_loss(true, answers), rel=1e-5)
    assert set(scored) == {"cross_entropy", "accuracy", "precision", "recall", "f1", "tpr", "fpr", "auroc"}
    for name, interval in scored.items():
        assert interval.low < interval.value < interval.high, name
    assert scored["accuracy"].method == "wilson"


def test_rows_without_a_mistake_do_not_make_anything_certain() -> None:
    true = np.array([0, 1, 2] * 20)
    scored = score(np.eye(3, dtype=np.float32)[true], true, schema("classification"), confidence=0.95, resamples=100, seed=0)
    right = wilson(60, 60, confidence=0.95)
    assert {name for name, interval in scored.items() if interval == right} == {"accuracy", "precision", "recall", "f1", "tpr"}
    assert (scored["fpr"].value, scored["fpr"].low) == (0, 0)
    assert scored["fpr"].high == pytest.approx(1 - right.low)
    several = (np.arange(60)[:, None] % [2, 3, 4] == 0).astype(np.float32)
    scored = score(several, several, schema("multilabel"), confidence=0.95, resamples=100, seed=0)
    assert scored["f1_micro"] == right
    assert scored["hamming"].high == pytest.approx(1 - right.low)
    nothing = score(0 * several, 0 * several, schema("multilabel"), confidence=0.95, resamples=100, seed=0)
    assert math.isnan(nothing["f1"].value), "of no label there is none"


def test_intervals_are_the_same_for_the_same_seed_and_need_no_luck_with_a_certain_answer() -> None:
    true = np.array([0, 1, 2] * 20)
    answers = np.eye(3, dtype=np.float32)[true]
    first, again = (score(answers, true, schema("classification"), confidence=0.9, resamples=100, seed=7) for _ in range(2))
    assert first == again
    assert first["cross_entropy"].value == 0
    assert first["accuracy"].high == 1
    assert first["accuracy"].low < 1


def test_a_wilson_interval_is_the_formulas_and_stays_inside_0_and_1() -> None:
    z = norm.ppf(0.975)
    n, p = 359, 356 / 359
    center, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = wilson(356, 359, confidence=0.95)
    assert (interval.low, interval.high) == pytest.approx((center - half, center + half))
    assert wilson(10, 10, confidence=0.95).high == 1
    assert wilson(0, 10, confidence=0.95).low == 0


def mean_of(sample: NDArray[np.float64], rows: NDArray[np.int64]) -> dict[str, float]:
    return {"m": float(sample[rows].mean())}


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        sample = generator.normal(5, 2, 60)
        interval = bootstrap(partial(mean_of, sample), 60, confidence=0.9, resamples=200, seed=trial)["m"]
        covered += interval.low <= 5 <= interval.high
    assert 80 <= covered <= 97


def test_per_class_numbers_come_from_the_confusion_matrix() -> None:
    answers = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1]]
    matrix = confusion_matrix(answers, np.array([0, 1, 1, 1, 2]), 3)
    assert matrix.tolist() == [[1, 0, 0], [1, 2, 0], [0, 1, 0]]
    table = per_class(matrix, CLASSES, confidence=0.95)
    assert [row["support"] for row in table] == [1, 3, 1]
    assert [row["recall"].value for row in table] == [1, 2 / 3, 0]
    assert table[2]["precision"] is None
    assert table[2]["f1"] == 0


def test_one_row_has_no_r2_and_breaks_nothing() -> None:
    found = regression_metrics(torch.tensor([1.0]), torch.tensor([2.0]))
    assert found["rmse"] == 1
    assert np.isnan(found["r2"])


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("val/loss", True),
        ("val/rmse", True),
        ("val/bce", True),
        ("val/hamming", True),
        ("val/accuracy", False),
        ("val/r2", False),
        ("val/exact_match", False),
    ],
)
def test_losses_fall_and_scores_rise(name: str, lower: bool) -> None:
    assert lower_is_better(name) is lower
