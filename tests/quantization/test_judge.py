"""What was lost: in the metric's unit, as a share of an error, and all of it where there is no number."""

import math
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exporting.parity import Tolerance
from pipeline.quantization.judge import Judge, agreement, drop_of, headline
from serving.predictor import Predictor
from serving.schema import Array
from tests.made import table

numbers = st.floats(1e-3, 1e3)


@given(numbers, numbers)
def test_a_drop_is_above_zero_exactly_when_the_metric_is_worse(whole: float, found: float) -> None:
    assert (drop_of("accuracy", whole, found) > 0) == (found < whole)
    assert (drop_of("rmse", whole, found) > 0) == (found > whole)


@given(numbers, numbers, st.floats(0.1, 10))
def test_the_drop_of_an_error_does_not_depend_on_its_unit(whole: float, found: float, unit: float) -> None:
    assert math.isclose(drop_of("rmse", whole, found), drop_of("rmse", whole * unit, found * unit), abs_tol=1e-9, rel_tol=1e-9)


def test_what_is_no_number_lost_everything() -> None:
    assert drop_of("accuracy", 0.9, math.nan) == math.inf
    assert drop_of("rmse", 0.0, 0.1) == math.inf
    assert drop_of("rmse", 0.0, 0.0) == 0


def test_answers_that_are_not_finite_have_no_headline() -> None:
    _, targets, schema = table("regression")
    answers = targets.copy()
    assert headline(answers, targets, schema, seed=0) == 0
    answers[3, 1] = np.inf
    assert math.isnan(headline(answers, targets, schema, seed=0))
    assert agreement(answers, targets, schema) is None


def test_labels_agree_where_all_of_a_row_are_the_same() -> None:
    _, _, schema = table("multilabel")
    expected = np.array([[0.9, 0.1, 0.6], [0.2, 0.2, 0.2]], dtype=np.float32)
    found = np.array([[0.7, 0.3, 0.4], [0.1, 0.3, 0.4]], dtype=np.float32)
    assert agreement(found, expected, schema) == 0.5


class _ScalesTheBatch:
    """Answers that hardly move beside ordinary rows: steps of a whole batch, as torch's dynamic layers have them."""

    def predict(self, inputs: Array) -> Array:
        step = np.abs(inputs).max() / 1e6
        found: Array = (np.rint(inputs / step) * step).sum(axis=1, keepdims=True)
        return found


def test_a_loud_neighbor_shows_a_batch_effect_that_ordinary_rows_hide() -> None:
    inputs, targets, schema = table("regression")
    predictor = cast(Predictor, _ScalesTheBatch())
    found = predictor.predict(inputs)
    judge = Judge(schema, "onnxruntime", inputs, targets, found, 0.0, (1, 8), 0.01, 0, Tolerance(1e-3, 0.0))
    effect = judge._batch_effect(predictor, found)
    ordinary = max(np.abs(predictor.predict(inputs[i : i + 8]) - found[i : i + 8]).max() for i in range(0, 64, 8))
    assert ordinary < 1e-4 < effect.max()
