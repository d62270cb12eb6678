"""Dates that could not have been known are told of with their places."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks.future_dates import future_dates
from pipeline.data.checks.subject import Subject
from serving.schema import Feature
from tests.data.checks.subjects import coins, make_subject, noise, only

TODAY = date(2026, 3, 1)
CUT = (date(2025, 1, 1) - date(1970, 1, 1)).days
LATE: Any = {"train": np.arange(400), "validation": np.arange(400, 500), "test": np.arange(500, 600)}
FEATURES = (Feature("size", 0, 1), Feature("shipped", 0, 1, "date"))


def dated(days: Any, config: PrepareConfig) -> Subject:
    inputs = np.column_stack((noise(1), days, np.full(600, 3600)))
    return make_subject(inputs, coins(), features=FEATURES, splits=LATE, config=config)


def test_train_rows_that_tell_of_the_time_after_a_split_by_time_are_named() -> None:
    days = np.full(600, CUT - 10.0)
    days[[7, 399]] = CUT + 3
    days[8] = np.nan
    by_time = PrepareConfig(split="time", split_column="ordered")
    warning = only(future_dates(dated(days, by_time), boundary_day=CUT, today=TODAY))
    assert warning.verdict == "WARN"
    assert warning.text == (
        "column 'shipped' lies after 2025-01-01, when validation begins, in 2 of 400 train rows, such as line 9 with "
        "2025-01-04: it was not known then"
    )
    assert warning.rows == (7, 399)
    assert "data.columns.shipped=ignore" in warning.advice
    assert only(future_dates(dated(np.full(600, CUT - 1.0), by_time), boundary_day=CUT, today=TODAY)).verdict == "PASS"


def test_a_train_row_on_the_day_of_the_cut_but_earlier_is_in_order() -> None:
    by_time = PrepareConfig(split="time", split_column="ordered")
    subject = dated(np.full(600, float(CUT)), by_time)  # at one o'clock
    assert only(future_dates(subject, boundary_day=CUT + 0.5, today=TODAY)).verdict == "PASS"
    assert only(future_dates(subject, boundary_day=CUT + 0.01, today=TODAY)).verdict == "WARN"


@pytest.mark.parametrize("split", ["column", "files", "random"])
def test_splits_that_the_data_names_are_held_to_their_dates_if_they_follow_in_time(split: Any) -> None:
    config = PrepareConfig(split=split, split_column="part" if split == "column" else None)
    days = CUT + np.arange(600.0) / 10
    days[3] = CUT + 45
    finding = only(future_dates(dated(days, config), today=TODAY))
    assert finding.verdict == ("PASS" if split == "random" else "WARN")
    mixed = np.random.default_rng(0).permutation(days)
    assert only(future_dates(dated(mixed, config), today=TODAY)).verdict == "PASS"


def test_dates_after_tomorrow_are_named_in_every_split() -> None:
    days = np.full(600, CUT - 10.0)
    days[[450, 3]] = (date(9999, 12, 31) - date(1970, 1, 1)).days
    warning = only(future_dates(dated(days, PrepareConfig(split="random")), today=TODAY))
    assert warning.text == "column 'shipped' lies in the future in 2 of 600 rows, such as line 5 with 9999-12-31"
    tomorrow = np.full(600, float((TODAY - date(1970, 1, 1)).days + 1))
    assert only(future_dates(dated(tomorrow, PrepareConfig(split="random")), today=TODAY)).verdict == "PASS"
    assert only(future_dates(dated(tomorrow + 1, PrepareConfig(split="random")), today=TODAY)).verdict == "WARN"
