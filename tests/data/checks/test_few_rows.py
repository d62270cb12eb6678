"""Classes that are too rare, or absent from a split, are named with their counts."""

import numpy as np

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks.few_rows import few_rows
from pipeline.data.checks.labels import counts_of
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from tests.data.checks.subjects import coins, make_subject, noise, only


def found(subject: Subject) -> list[Finding]:
    return few_rows(subject, counts_of(subject))


def test_a_class_with_fewer_rows_than_asked_for_is_named() -> None:
    targets = coins()
    targets[:9] = 2  # six of the first ten rows are train, two validation, two test
    subject = make_subject(noise(1), targets, classes=("no", "yes", "maybe"))
    warning = only(found(subject))
    assert warning.verdict == "WARN"
    assert warning.text == "class 'maybe' has 9 row(s), fewer than prepare.fewest_per_class=10"
    assert warning.column == "y"
    enough = make_subject(noise(1), targets, classes=("no", "yes", "maybe"), config=PrepareConfig(fewest_per_class=9))
    assert only(found(enough)).verdict == "PASS"


def test_a_class_that_a_split_lacks_is_named_with_what_follows() -> None:
    targets = coins()
    targets[np.arange(600) % 10 >= 6] = 0
    targets[np.arange(600) % 10 == 8] = 1
    warning = only(found(make_subject(noise(1), targets)))
    assert warning.text == "class 'yes' has no row in validation, so validation metrics say nothing of it"
    assert "prepare.split=stratified" in warning.advice
    targets = np.zeros(600, dtype=np.int64)
    targets[np.arange(600) % 10 >= 6] = 1
    texts = [finding.text for finding in found(make_subject(noise(1), targets))]
    assert "class 'yes' has no row in train, so it cannot be learned" in texts


def test_a_long_list_of_classes_is_cut() -> None:
    names = tuple(f"c{number}" for number in range(100))
    warning = found(make_subject(noise(1), np.arange(600) // 6, classes=names))[0]
    assert warning.text.startswith("class 'c0' has 6 row(s), 'c1' has 6 row(s)")
    assert " and 95 more, fewer than" in warning.text


def test_labels_are_counted_each_for_itself() -> None:
    targets = np.column_stack((coins(), np.zeros(600))).astype(np.float32)
    targets[:3, 1] = 1
    texts = [finding.text for finding in found(make_subject(noise(1), targets, task="multilabel", classes=("red", "blue")))]
    assert texts[0] == "label 'blue' has 3 row(s), fewer than prepare.fewest_per_class=10"
    assert len(texts) == 3


def test_the_counts_of_a_sample_are_those_of_the_whole_split() -> None:
    subject = make_subject(noise(1, rows=40), np.arange(40) % 2)
    assert only(found(subject)).verdict == "PASS"
    assert counts_of(subject)["train"].tolist() == [12, 12]
    subject.counts["train"] = 2_400
    assert counts_of(subject)["train"].tolist() == [1_200, 1_200]


def test_numbers_have_no_classes() -> None:
    assert only(found(make_subject(noise(1), noise(1)[:, 0], task="regression"))).verdict == "PASS"
