"""Parity: equal answers pass, any other is refused with the row that shows it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.exporting.parity import Parity, Tolerance, compare, refusal
from serving.schema import Task

Array = NDArray[np.float32]
INPUTS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
EXPECTED = np.exp(INPUTS) / np.exp(INPUTS).sum(axis=1, keepdims=True)


def softmax(inputs: Array) -> Array:
    answers: Array = np.exp(inputs) / np.exp(inputs).sum(axis=1, keepdims=True)
    return answers


def check(predict: object, *, expected: Array = EXPECTED, atol: float = 1e-4, task: Task = "classification") -> Parity:
    return compare(predict, INPUTS, expected, task=task, batch_sizes=[1, 7, 64], tolerance=Tolerance(atol, 1e-4))  # type: ignore[arg-type]


def test_equal_answers_pass_on_every_row() -> None:
    parity = check(softmax)
    assert parity.passed
    assert (parity.rows, parity.max_abs_diff, parity.argmax_agreement) == (50, 0, 1)


@given(row=st.integers(0, 49), column=st.integers(0, 2), size=st.floats(0.001, 10))
def test_one_wrong_answer_anywhere_fails_and_is_named(row: int, column: int, size: float) -> None:
    expected = EXPECTED.copy()
    expected[row, column] += np.float32(size)
    parity = check(softmax, expected=expected)
    assert not parity.passed
    assert parity.worst.row == row
    assert f"validation row {row} at batch size" in refusal("x.onnx", parity)


def test_an_error_that_shows_at_one_batch_size_only_fails_with_that_size() -> None:
    def odd(inputs: Array) -> Array:
        return softmax(inputs) + (0.1 if len(inputs) == 7 else 0)

    parity = check(odd)
    assert not parity.passed
    assert parity.worst.batch_size == 7


def test_a_nan_never_passes() -> None:
    parity = check(lambda inputs: np.full_like(inputs, np.nan), atol=1e9)
    assert not parity.passed
    assert parity.max_abs_diff == np.inf


def test_a_swapped_class_fails_even_within_a_generous_tolerance() -> None:
    parity = check(lambda inputs: softmax(inputs)[:, [1, 0, 2]], atol=1e9)
    assert not parity.passed
    assert parity.argmax_agreement is not None
    assert parity.argmax_agreement < 1


def sigmoid(inputs: Array) -> Array:
    return (1 / (1 + np.exp(-inputs))).astype(np.float32)


def test_a_label_that_changed_fails_even_within_a_generous_tolerance_and_counts_by_row() -> None:
    expected = sigmoid(INPUTS)
    equal = check(sigmoid, expected=expected, task="multilabel")
    assert (equal.passed, equal.label_agreement, equal.argmax_agreement) == (True, 1, None)
    parity = check(
        lambda inputs: sigmoid(inputs * np.array([-1, 1, 1], np.float32)), expected=expected, atol=1e9, task="multilabel"
    )
    assert not parity.passed
    assert parity.label_agreement == 0
    assert "label agreement 0.0000" in refusal("x.onnx", parity)
    scaled = check(lambda inputs: sigmoid(inputs * 2), expected=expected, atol=1e9, task="multilabel")
    assert scaled.passed, "another likeliest label is none of its business: each label is decided by itself"


def test_a_probability_on_the_edge_may_fall_to_either_side_by_rounding() -> None:
    expected = np.full((50, 3), 0.5, dtype=np.float32)
    assert check(lambda inputs: np.full_like(inputs, 0.4999999), expected=expected, task="multilabel").passed
    assert not check(lambda inputs: np.full_like(inputs, 0.4), expected=expected + 0.1, atol=1e9, task="multilabel").passed


def test_values_are_judged_relative_to_their_unit_and_never_by_which_is_largest() -> None:
    values = np.linspace(-300, 300, 50, dtype=np.float32).reshape(-1, 1)
    parity = check(lambda x: values[: len(x)] * np.float32(1 + 5e-4), expected=values, task="regression")
    assert not parity.passed
    assert parity.argmax_agreement is None
    assert "agreement" not in refusal("x.onnx", parity)
    several = np.full((50, 3), 300, dtype=np.float32)
    assert check(
        lambda x: several[: len(x)] + np.array([0, 0.01, -0.01], np.float32), expected=several, task="regression"
    ).passed


@pytest.mark.parametrize("name", ["train-fp32.onnx", "train-fp32.torchscript.pt"])
def test_the_refusal_says_what_differs_where_and_what_was_allowed(name: str) -> None:
    line = refusal(name, check(lambda inputs: softmax(inputs * 2)))
    assert len(line.splitlines()) == 1
    for part in (name, "largest difference", "argmax agreement", "export.atol"):
        assert part in line


def test_two_classes_as_likely_as_each_other_may_change_places_by_rounding() -> None:
    expected = np.array([[0.5, 0.49999997, 0.0]], np.float32)
    parity = compare(
        lambda rows: expected[:, [1, 0, 2]],
        INPUTS[:1],
        expected,
        task="classification",
        batch_sizes=[1],
        tolerance=Tolerance(1e-4, 0),
    )
    assert (parity.passed, parity.argmax_agreement) == (True, 1.0)


@pytest.mark.parametrize(("off", "passed"), [([[0.0, 0.0], [0.0, 15.0]], True), ([[0.01, 0.0], [0.0, 0.0]], False)])
def test_what_values_may_be_off_by_counts_from_the_center_of_their_output(off: list[list[float]], passed: bool) -> None:
    years = np.array([[2020.0, 1e6], [2025.0, 1.1e6]], np.float32)
    near = Tolerance([5e-4, 10.0], 1e-4, [2020.0, 1e6])
    assert np.allclose(near.allowed(years), [[5e-4, 10.0], [1e-3, 20.0]])
    found = (years + np.array(off)).astype(np.float32)
    parity = compare(lambda rows: found, INPUTS[:2], years, task="regression", batch_sizes=[2], tolerance=near)
    assert parity.passed == passed
    if not passed:
        assert (parity.worst.row, parity.worst.output) == (0, 0)
        assert parity.worst.allowed == pytest.approx(5e-4)
