"""A column that alone gives the target away ends prepare; honest columns do not."""

from typing import Any

import numpy as np
import pytest
import sklearn.datasets

from pipeline.data.checks.leak import leak
from pipeline.data.findings import enforced
from pipeline.errors import DataError
from serving.schema import Feature
from tests.data.checks.subjects import ROWS, coins, make_subject, noise, only

HONEST, CITY = Feature("honest", -5, 5), Feature("city", 1, 9, "category", tuple("abcdefghi"))


def test_a_number_that_tells_two_classes_apart_fails_with_column_score_and_what_to_do() -> None:
    targets = coins()
    inputs = np.column_stack((noise(1), targets * 3 + noise(1, seed=2)[:, 0] * 0.1))
    failure = only(leak(make_subject(inputs, targets)))
    assert failure.verdict == "FAIL"
    assert failure.column == "b"
    assert failure.text == "column 'b' alone predicts 'y': balanced accuracy 1 on train and validation rows"
    assert "data.columns.b=ignore" in failure.advice
    assert "prepare.allow=[leak]" in failure.advice
    (accepted,) = enforced([failure], ("leak",))
    assert accepted.verdict == "WARN"
    with pytest.raises(DataError, match="column 'b' alone predicts 'y'"):
        enforced([failure], ("identifier",))


def test_ranges_that_alternate_are_found_too() -> None:
    leaking = noise(1, seed=3)[:, 0] * 2
    targets = np.digitize(leaking, [-2, 0, 2]) % 3
    failure = only(leak(make_subject(np.column_stack((noise(2), leaking)), targets, classes=("x", "y", "z"))))
    assert failure.column == "c"


def test_a_strong_but_honest_column_passes() -> None:
    targets = coins()
    inputs = np.column_stack((noise(1), targets * 4 + noise(1, seed=2)[:, 0]))  # 97.7 %
    assert only(leak(make_subject(inputs, targets))).verdict == "PASS"


def test_a_column_that_is_right_on_the_frequent_class_alone_passes() -> None:
    targets = (np.random.default_rng(5).random(ROWS) < 0.02).astype(np.int64)
    assert only(leak(make_subject(noise(3), targets))).verdict == "PASS"


def test_a_category_that_gives_the_class_away_fails() -> None:
    targets = coins()
    codes = targets + 1 + 2 * np.random.default_rng(3).integers(0, 4, ROWS)
    subject = make_subject(np.column_stack((noise(1), codes)), targets, features=(HONEST, CITY))
    assert only(leak(subject)).column == "city"


def test_a_category_that_is_different_in_each_row_gives_nothing_away() -> None:
    subject = make_subject(np.column_stack((noise(1), np.arange(1, ROWS + 1))), coins(), features=(HONEST, CITY))
    assert only(leak(subject)).verdict == "PASS"


def test_whether_a_value_is_missing_can_give_the_class_away() -> None:
    targets = coins()
    inputs = noise(2)
    inputs[targets == 1, 1] = np.nan
    failure = only(leak(make_subject(inputs, targets)))
    assert failure.text.startswith("whether column 'b' is missing alone predicts 'y'")
    assert (failure.verdict, failure.column) == ("FAIL", "b")
    inputs = noise(2)
    inputs[coins(seed=7) == 1, 1] = np.nan
    assert only(leak(make_subject(inputs, targets))).verdict == "PASS"


def test_the_day_of_a_date_can_give_the_class_away() -> None:
    targets = coins()
    days = np.random.default_rng(2).integers(0, 100, ROWS) + targets * 200
    features = (HONEST, Feature("paid", 0, 300, "date"))
    subject = make_subject(np.column_stack((noise(1), days, noise(1))), targets, features=features)
    assert only(leak(subject)).column == "paid"


@pytest.mark.parametrize("function", [lambda x: 3 * x + 1, np.exp, lambda x: np.abs(x) ** 0.5])
def test_a_number_that_the_target_is_computed_from_fails(function: Any) -> None:
    inputs = noise(2, rows=3_000)
    targets = function(inputs[:, 1]).astype(np.float32)
    failure = only(leak(make_subject(inputs, targets, task="regression")))
    assert failure.column == "b"
    assert "R2 0.999" in failure.text or "R2 1 " in failure.text
    noisy = targets + 0.1 * targets.std() * noise(1, rows=3_000, seed=4)[:, 0]
    assert only(leak(make_subject(inputs, noisy, task="regression"))).verdict == "PASS"


def test_a_category_whose_means_are_the_target_fails() -> None:
    codes = np.random.default_rng(3).integers(1, 9, ROWS)
    subject = make_subject(np.column_stack((noise(1), codes)), codes**2.0, task="regression", features=(HONEST, CITY))
    assert only(leak(subject)).column == "city"


def test_each_label_and_each_output_is_looked_at() -> None:
    labels = np.column_stack((coins(), coins(seed=5))).astype(np.float32)
    inputs = np.column_stack((noise(1), labels[:, 1]))
    failure = only(leak(make_subject(inputs, labels, task="multilabel", classes=("red", "blue"))))
    assert "column 'b' alone predicts 'blue'" in failure.text
    outputs = np.column_stack((noise(1, seed=8), inputs[:, 0])).astype(np.float32)
    failure = only(leak(make_subject(inputs, outputs, task="regression", outputs=("low", "high"))))
    assert "column 'a' alone predicts 'high'" in failure.text


def test_a_column_that_has_no_other_beside_it_is_what_the_user_wants_to_predict_from() -> None:
    targets = coins()
    assert only(leak(make_subject(targets[:, np.newaxis], targets))).verdict == "PASS"


@pytest.mark.parametrize("source", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_no_built_in_set_leaks(source: str) -> None:
    loaded = getattr(sklearn.datasets, f"load_{source}")()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    inputs, targets = loaded.data[order], loaded.target[order]
    features = tuple(Feature(f"c{number}", 0, 1) for number in range(inputs.shape[1]))
    if source == "diabetes":
        subject = make_subject(inputs, targets.astype(np.float32), task="regression", features=features)
    else:
        subject = make_subject(inputs, targets, classes=[str(name) for name in loaded.target_names], features=features)
    finding = only(leak(subject))
    assert finding.verdict == "PASS"
    assert finding.text.startswith("none of")
