"""Metrics agree with scikit-learn's, and intervals cover what they promise."""

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
from pipeline.metrics.score import confusion_matrix, per_class, score
from pipeline.metrics.tasks import auroc, class_metrics, classification_metrics, lower_is_better, regression_metrics
from serving.schema import Schema

CLASSES = ("a", "b", "c")


def schema(task: str) -> Schema:
    classes = CLASSES if task == "classification" else ()
    return Schema(task=task, kind="table", shape=(2,), target="y", minimum=0, maximum=1, classes=classes)  # type: ignore[arg-type]


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


def test_scores_are_metrics_of_the_answers_with_the_point_inside_its_interval() -> None:
    _, true = labels()
    answers = np.random.default_rng(1).dirichlet([1, 1, 1], 200).astype(np.float32)
    scored = score(answers, true, schema("classification"), confidence=0.95, resamples=200, seed=0)
    assert scored["cross_entropy"].value == pytest.approx(reference.log_loss(true, answers), rel=1e-5)
    assert set(scored) == {"cross_entropy", "accuracy", "precision", "recall", "f1", "tpr", "fpr", "auroc"}
    for name, interval in scored.items():
        assert interval.low < interval.value < interval.high, name
    assert scored["accuracy"].method == "wilson"


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
    ("name", "lower"), [("val/loss", True), ("val/rmse", True), ("val/accuracy", False), ("val/r2", False)]
)
def test_losses_fall_and_scores_rise(name: str, lower: bool) -> None:
    assert lower_is_better(name) is lower
