"""Calendar values of days, from tensors, are those of Python's calendar."""

from datetime import date, timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.models.calendar import _HALF, civil_from_days, day_parts

EPOCH = date(1970, 1, 1)
FIRST, LAST = (date.min - EPOCH).days, (date.max - EPOCH).days


def python_says(days: list[int]) -> list[tuple[int, ...]]:
    dates = [EPOCH + timedelta(days=day) for day in days]
    return [(day.year, day.month, day.day, day.weekday()) for day in dates]


def ours(days: list[int]) -> list[tuple[int, ...]]:
    found: Tensor = torch.stack(civil_from_days(torch.tensor(days, dtype=torch.float32)), dim=1)
    return [tuple(row) for row in found.tolist()]


@given(days=st.lists(st.integers(FIRST, LAST), min_size=1))
def test_any_day_of_the_years_1_to_9999_has_pythons_year_month_day_and_weekday(days: list[int]) -> None:
    assert ours(days) == python_says(days)


def test_every_day_of_an_era_and_both_ends_are_exact() -> None:
    sweep = [*range(FIRST, FIRST + 800), *range(-147_000, 30_000), *range(LAST - 800, LAST + 1)]
    assert ours(sweep) == python_says(sweep)


@pytest.mark.parametrize("by", [4, 5, 7, 100, 153, 365, 1460, 36_524, 146_096, 146_097])
def test_a_device_that_divides_a_last_bit_wrong_gets_the_same_quotients(by: int) -> None:
    # As a device may, that multiplies by a reciprocal.
    largest = {4: 400, 5: 2000, 7: 147_000, 100: 400, 153: 2000, 365: 146_097}.get(by, 3_700_000 if by > 146_096 else 146_097)
    quotients = (np.arange(largest, dtype=np.float32) + np.float32(_HALF)) / np.float32(by)
    for wrong in (quotients, np.nextafter(quotients, -np.inf), np.nextafter(quotients, np.inf)):
        np.testing.assert_array_equal(np.floor(wrong), np.arange(largest) // by)


def test_months_weekdays_and_hours_are_circles_whose_end_is_next_to_their_beginning() -> None:
    days = torch.tensor([(date(2024, 12, 31) - EPOCH).days, (date(2025, 1, 1) - EPOCH).days], dtype=torch.float32)
    parts = day_parts(days, torch.tensor([86_399.0, 0.0]))
    for name, step in (("month", 2 * np.pi / 12), ("weekday", 2 * np.pi / 7), ("hour", 2 * np.pi / 86_400)):
        points = torch.stack(parts[name], dim=1)  # (days, 2)
        torch.testing.assert_close(points.square().sum(1), torch.ones(2))
        assert float((points[0] - points[1]).norm()) == pytest.approx(2 * np.sin(step / 2), rel=0.05)
