"""Categories that train lacks are told of where many rows have them."""

import numpy as np

from pipeline.data.checks.unseen import unseen
from serving.schema import Feature
from tests.data.checks.subjects import coins, make_subject, noise, only

FEATURES = (Feature("size", 0, 1), Feature("city", 1, 3, "category", ("Bern", "Rome", "Zürich")))


def test_more_than_a_twentieth_of_unseen_categories_is_told_with_a_place() -> None:
    codes = np.ones(600)
    codes[[8, 9, 18, 19, 28, 29, 38]] = 0  # 7 of 120 test rows
    warning = only(unseen(make_subject(np.column_stack((noise(1), codes)), coins(), features=FEATURES)))
    assert warning.verdict == "WARN"
    assert warning.column == "city"
    assert "fewer than 2 train rows have in 5.8% of test rows, such as line 10" in warning.text
    assert warning.rows == (8, 9, 18, 19, 28)


def test_a_few_unseen_categories_and_zeros_that_are_numbers_pass() -> None:
    codes = np.ones(600)
    codes[[8, 9, 18]] = 0
    assert only(unseen(make_subject(np.column_stack((np.zeros(600), codes)), coins(), features=FEATURES))).verdict == "PASS"
