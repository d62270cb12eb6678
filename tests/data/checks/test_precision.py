"""Numbers that float32 rounds onto each other are told of; ordinary ones are not."""

from typing import Any

import numpy as np
import pytest

from pipeline.data.checks.precision import precision
from tests.data.checks.subjects import coins, make_subject, only

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "values",
    [
        1_700_000_000 + RNG.integers(0, 86_400, 600),  # seconds of one day
        20_000_000 + np.arange(600),  # identifiers beyond 2**24
        40_000 + RNG.normal(size=600) * 1e-3,
        1e6 + RNG.normal(size=600),
    ],
)
def test_differences_that_float32_loses_are_named_with_step_and_advice(values: Any) -> None:
    warning = only(precision(make_subject(np.column_stack((RNG.normal(size=600), values)), coins())))
    assert warning.verdict == "WARN"
    assert warning.column == "b"
    assert "32-bit floating point holds in steps of" in warning.text
    assert "subtract its smallest value" in warning.advice


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=600),
        RNG.lognormal(0, 5, size=600),
        1_700_000_000 + RNG.integers(0, 86_400 * 365, 600),  # seconds of a year: 128 of them are nothing
        16_000_000 + np.arange(600),
        RNG.integers(0, 2, 600),
        np.full(600, 1e30),
        np.where(RNG.random(600) < 0.5, np.nan, RNG.normal(size=600)),
        np.full(600, np.nan),
    ],
)
def test_ordinary_numbers_pass(values: Any) -> None:
    assert only(precision(make_subject(values[:, np.newaxis], coins()))).verdict == "PASS"
