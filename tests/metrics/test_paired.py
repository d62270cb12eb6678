"""Paired drops: the bound holds as often as it says, never is 0 on finite evidence, and follows the definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.metrics.paired import paired_drop, paired_proportions
from pipeline.metrics.score import score
from serving.schema import Array, Schema
from tests.made import table

CLASSES = Schema(task="classification", kind="table", shape=(2,), target="y", minimum=0.0, maximum=1.0, classes=("a", "b", "c"))


def right(count: int, rows: int) -> NDArray[np.bool]:
    return np.arange(rows) < count


def answers_of(classes: NDArray[Any], outputs: int = 3) -> Array:
    found: Array = np.eye(outputs, dtype=np.float32)[classes]
    return found


@pytest.mark.parametrize("rows", [20, 360, 100_000])
def test_identical_answers_have_a_bound_that_shrinks_as_one_over_the_rows_and_is_never_0(rows: int) -> None:
    both = right(rows - 3, rows)
    drop = paired_proportions(both, both, metric="accuracy", confidence=0.95)
    assert (drop.drop, drop.lost, drop.gained) == (0, 0, 0)
    assert drop.bound == pytest.approx(norm.ppf(0.95) / (rows + 2))


def test_the_bound_is_that_of_agresti_and_min_with_half_a_row_in_each_cell() -> None:
    before, after = np.ones(100, dtype=bool), np.ones(100, dtype=bool)
    after[:7] = False  # 7 lost
    before[50:52] = False  # 2 gained
    drop = paired_proportions(after, before, metric="accuracy", confidence=0.975)
    assert (drop.lost, drop.gained, drop.value, drop.before) == (7, 2, 0.93, 0.98)
    assert drop.drop == pytest.approx(0.05)
    difference = (7.5 - 2.5) / 102
    deviation = np.sqrt(((7.5 + 2.5) / 102 - difference**2) / 102)
    assert drop.bound == pytest.approx(difference + 1.959964 * deviation, abs=1e-6)


@given(st.integers(1, 300), st.data())
def test_the_bound_is_above_the_drop_grows_with_losses_and_stays_a_share(rows: int, data: st.DataObject) -> None:
    before = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    after = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    drop = paired_proportions(after, before, metric="accuracy", confidence=0.95)
    assert drop.drop == pytest.approx(drop.before - drop.value)
    assert -1 <= drop.bound <= 1
    if after.any():
        worse = after.copy()
        worse[int(after.argmax())] = False
        assert paired_proportions(worse, before, metric="accuracy", confidence=0.95).bound > drop.bound - 1e-12


@pytest.mark.parametrize(("lost", "gained"), [(0.01, 0.01), (0.05, 0.02), (0.004, 0.0)])
def test_the_bound_covers_the_true_drop_about_as_often_as_it_says(lost: float, gained: float) -> None:
    generator = np.random.default_rng(0)
    held, times = 0, 2000
    for _ in range(times):
        draw = generator.random(360)
        before = draw > gained
        after = (draw <= gained) | (draw > gained + lost)
        held += paired_proportions(after, before, metric="accuracy", confidence=0.95).bound >= lost - gained
    assert held / times > 0.93


def test_accuracy_counts_a_row_without_a_finite_answer_as_wrong() -> None:
    targets = np.array([0, 1, 2, 0] * 10)
    before, given_ = answers_of(targets), answers_of(targets)
    given_[0] = np.nan  # argmax of NaNs is 0, which would be right
    drop = paired_drop(given_, before, targets, CLASSES, confidence=0.95, resamples=100, seed=0)
    assert (drop.lost, drop.metric) == (1, "accuracy")


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_other_metrics_are_bounded_by_a_paired_bootstrap_that_is_repeatable(task: str) -> None:
    _, targets, schema = table(task)
    generator = np.random.default_rng(0)
    before = targets + generator.normal(0, 0.4, targets.shape).astype(np.float32)
    worse = targets + generator.normal(0, 0.8, targets.shape).astype(np.float32)
    drop = paired_drop(worse, before, targets, schema, confidence=0.95, resamples=200, seed=3)
    assert drop == paired_drop(worse, before, targets, schema, confidence=0.95, resamples=200, seed=3)
    assert (drop.metric, drop.method, drop.lost) == (schema.headline, "paired bootstrap", None)
    assert 0 < drop.drop < drop.bound, "worse is above 0, also where the metric rises"
    for answers, value in ((worse, drop.value), (before, drop.before)):
        scored = score(answers, targets, schema, confidence=0.95, resamples=100, seed=0)
        assert value == pytest.approx(scored[schema.headline].value, rel=1e-5)
    reverse = paired_drop(before, worse, targets, schema, confidence=0.95, resamples=200, seed=3)
    assert reverse.drop == pytest.approx(-drop.drop)
    same = paired_drop(before, before, targets, schema, confidence=0.95, resamples=100, seed=0)
    assert same.drop == same.bound == 0


def test_pairing_tells_apart_what_two_separate_intervals_cannot() -> None:
    targets = np.arange(360) % 3
    wrong = np.random.default_rng(0).random(360) < 0.2
    before = answers_of(np.where(wrong, (targets + 1) % 3, targets))
    drop = paired_drop(before, before, targets, CLASSES, confidence=0.95, resamples=100, seed=0)
    alone = score(before, targets, CLASSES, confidence=0.95, resamples=100, seed=0)["accuracy"]
    assert drop.bound < 0.1 * (alone.high - alone.low)


def test_exact_match_is_a_share_of_rows_as_well() -> None:
    _, targets, schema = table("multilabel")
    broken = targets.copy()
    broken[:6, 0] = 1 - broken[:6, 0]
    drop = paired_drop(broken, targets, targets, schema, confidence=0.95, resamples=100, seed=0, metric="exact_match")
    assert (drop.lost, drop.gained) == (6, 0)
