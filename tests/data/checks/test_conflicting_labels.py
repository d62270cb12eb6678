"""Identical rows that disagree are shown, with what it costs at least."""

import numpy as np

from pipeline.data.checks.conflicting_labels import conflicting_labels
from tests.data.checks.subjects import coins, make_subject, noise, only


def test_identical_rows_with_other_classes_are_counted_and_shown_by_place() -> None:
    targets = np.zeros(600, dtype=np.int64)
    groups = np.arange(600)
    groups[[10, 11, 12]] = 5  # lines 7, 12, 13 and 14
    groups[21] = 20
    targets[[11, 12, 21]] = 1
    warning = only(conflicting_labels(make_subject(noise(1), targets, groups=groups)))
    assert warning.verdict == "WARN"
    assert "6 of 600 rows (1.0%) have the same inputs as another row and another 'y'" in warning.text
    assert "line 7 is 'no', line 13 is 'yes'; line 22 is 'no', line 23 is 'yes'" in warning.text
    assert "accuracy on these rows cannot exceed 99.5%" in warning.advice
    assert set(warning.rows) <= {5, 10, 11, 12, 20, 21}


def test_identical_rows_that_agree_pass_and_are_counted() -> None:
    finding = only(conflicting_labels(make_subject(noise(1), np.zeros(600, dtype=np.int64), groups=np.arange(600) // 2)))
    assert finding.verdict == "PASS"
    assert "600 rows have a duplicate" in finding.text
    assert only(conflicting_labels(make_subject(noise(1), coins()))).verdict == "PASS"


def test_rows_conflict_when_they_differ_in_one_label() -> None:
    labels = np.zeros((600, 2), dtype=np.float32)
    groups = np.arange(600)
    groups[1] = 0
    labels[1] = [1, 1]
    warning = only(
        conflicting_labels(make_subject(noise(1), labels, task="multilabel", classes=("red", "blue"), groups=groups))
    )
    assert "line 2 is without a label, line 3 is 'red' and 'blue'" in warning.text
    assert "exact_match" in warning.advice


def test_numbers_that_differ_as_much_between_identical_rows_as_between_all_are_told_of() -> None:
    groups = np.arange(600) // 2
    values = noise(1, seed=4)[:, 0].astype(np.float32)
    warning = only(conflicting_labels(make_subject(noise(1), values, task="regression", groups=groups)))
    assert warning.verdict == "WARN"
    assert "600 rows have the same inputs as another row, and their 'y' differ by" in warning.text
    alike = np.repeat(values[:300], 2) + 0.1 * values
    assert only(conflicting_labels(make_subject(noise(1), alike, task="regression", groups=groups))).verdict == "PASS"


def test_of_several_numbers_the_one_that_differs_is_named() -> None:
    groups = np.arange(600) // 2
    values = noise(2, seed=4)
    values[:, 0] = groups
    warning = only(
        conflicting_labels(make_subject(noise(1), values, task="regression", outputs=("low", "high"), groups=groups))
    )
    assert warning.column == "high"


def test_identical_pictures_with_other_classes_are_found() -> None:
    groups = np.arange(600)
    groups[1] = 0
    targets = np.zeros(600, dtype=np.int64)
    targets[1] = 1
    assert only(conflicting_labels(make_subject(np.zeros((600, 4, 4)), targets, groups=groups))).verdict == "WARN"
