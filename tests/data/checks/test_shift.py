"""Splits that are unlike train are told of with their columns; random splits are quiet."""

from typing import Any

import numpy as np
import pytest

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks.shift import shift
from serving.schema import Feature
from tests.data.checks.subjects import coins, make_subject, noise, only

CITY = Feature("city", 1, 9, "category", tuple("abcdefghi"))
TEST = np.arange(600) % 10 >= 8


@pytest.mark.parametrize("seed", range(20))
def test_rows_in_random_order_are_quiet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = np.column_stack(
        (noise(3, seed=seed), rng.lognormal(size=(600, 2)), rng.zipf(1.5, 600) % 40, rng.integers(1, 3, 600))
    )
    inputs[rng.random((600, 7)) < 0.2] = np.nan
    features = (*(Feature(name, 0, 1) for name in "abcde"), CITY, Feature("flag", 0, 1, "boolean"))
    assert only(shift(make_subject(inputs, coins(seed=seed), features=features))).verdict == "PASS"


def test_a_number_that_is_larger_in_test_is_named_with_its_medians() -> None:
    inputs = noise(3)
    inputs[TEST, 1] += 1
    warning = only(shift(make_subject(inputs, coins())))
    assert warning.verdict == "WARN"
    assert warning.text.startswith("test rows are not like train rows: column 'b' is distributed otherwise (KS distance 0.")
    assert "median" in warning.text
    assert "column 'a'" not in warning.text


def test_a_small_difference_of_many_rows_is_no_chance_and_yet_passes() -> None:
    inputs = noise(2, rows=50_000)
    inputs[np.arange(50_000) % 10 >= 8, 1] += 0.15  # a distance of 0.06
    assert only(shift(make_subject(inputs, coins(rows=50_000)))).verdict == "PASS"


def test_other_categories_and_more_gaps_in_test_are_named_the_largest_first() -> None:
    rng = np.random.default_rng(0)
    inputs = np.column_stack((noise(1), rng.integers(1, 4, 600).astype(float)))
    inputs[TEST, 1] = rng.integers(2, 6, TEST.sum())
    inputs[TEST & (rng.random(600) < 0.3), 0] = np.nan
    warning = only(shift(make_subject(inputs, coins(), features=(Feature("size", 0, 1), CITY))))
    assert "column 'city' has other values in" in warning.text
    assert "column 'size' is missing in" in warning.text
    assert warning.text.index("'city'") < warning.text.index("'size'")


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_a_target_that_is_otherwise_in_test_is_named(task: Any) -> None:
    targets: Any = coins()
    targets[TEST] = 1
    if task == "multilabel":
        targets = np.column_stack((targets, coins(seed=9))).astype(np.float32)
    if task == "regression":
        targets = targets + noise(1, seed=8)[:, 0]
    assert "target" in only(shift(make_subject(noise(1), targets, task=task))).text


def test_each_split_has_its_own_line_and_a_long_one_is_cut() -> None:
    inputs = noise(8)
    inputs[np.arange(600) % 10 >= 6] += 2
    findings = shift(make_subject(inputs, coins()))
    assert [finding.text.split()[0] for finding in findings] == ["validation", "test"]
    assert findings[0].text.endswith("; and 3 more")


def test_dates_of_a_split_by_time_differ_as_they_should() -> None:
    inputs = np.column_stack((np.arange(600), np.zeros(600)))
    late = {"train": np.arange(400), "validation": np.arange(400, 500), "test": np.arange(500, 600)}
    features = (Feature("when", 0, 600, "date"),)
    by_time = PrepareConfig(split="time", split_column="day")
    assert only(shift(make_subject(inputs, coins(), features=features, splits=late, config=by_time))).verdict == "PASS"  # type: ignore[arg-type]
    assert len(shift(make_subject(inputs, coins(), features=features, splits=late))) == 2  # type: ignore[arg-type]


def test_pictures_are_compared_by_their_brightness() -> None:
    pictures = np.random.default_rng(0).random((600, 4, 4))
    pictures[TEST] *= 0.5
    assert "mean brightness" in only(shift(make_subject(pictures, coins()))).text
