"""Parity: equal answers pass, any other is refused with the row that shows it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.exporting.parity import Parity, compare, refusal

Array = NDArray[np.float32]
INPUTS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
EXPECTED = np.exp(INPUTS) / np.exp(INPUTS).sum(axis=1, keepdims=True)


def softmax(inputs: Array) -> Array:
    answers: Array = np.exp(inputs) / np.exp(inputs).sum(axis=1, keepdims=True)
    return answers


def check(predict: object, *, expected: Array = EXPECTED, atol: float = 1e-4) -> Parity:
    return compare(predict, INPUTS, expected, batch_sizes=[1, 7, 64], atol=atol, rtol=1e-4)  # type: ignore[arg-type]


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


def test_regression_is_judged_relative_to_its_unit() -> None:
    values = np.linspace(-300, 300, 50, dtype=np.float32).reshape(-1, 1)
    assert compare(
        lambda x: values[: len(x)] * np.float32(1 + 5e-5), INPUTS, values, batch_sizes=[64], atol=1e-4, rtol=1e-4
    ).passed
    parity = compare(lambda x: values[: len(x)] * np.float32(1 + 5e-4), INPUTS, values, batch_sizes=[64], atol=1e-4, rtol=1e-4)
    assert not parity.passed
    assert parity.argmax_agreement is None
    assert "argmax" not in refusal("x.onnx", parity)


@pytest.mark.parametrize("name", ["train-fp32.onnx", "train-fp32.torchscript.pt"])
def test_the_refusal_says_what_differs_where_and_what_was_allowed(name: str) -> None:
    line = refusal(name, check(lambda inputs: softmax(inputs * 2)))
    assert len(line.splitlines()) == 1
    for part in (name, "largest difference", "argmax agreement", "export.atol"):
        assert part in line
