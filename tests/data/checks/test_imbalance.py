"""Classes of very unlike size come with their shares and with advice."""

import numpy as np
import pytest

from pipeline.data.checks.imbalance import imbalance
from pipeline.data.checks.labels import counts_of
from tests.data.checks.subjects import coins, make_subject, noise, only


@pytest.mark.parametrize(("share", "verdict"), [(0.5, "PASS"), (0.7, "PASS"), (0.75, "WARN"), (0.95, "WARN")])
def test_a_class_three_times_as_large_as_another_is_told_of(share: float, verdict: str) -> None:
    targets = (np.arange(600) >= share * 600).astype(np.int64)
    subject = make_subject(noise(1), targets)
    finding = only(imbalance(subject, counts_of(subject)))
    assert finding.verdict == verdict
    assert finding.text == f"class 'no' has {share:.1%} of the train rows, 'yes' {1 - share:.1%}"
    if verdict == "WARN":
        assert "train.loss.class_weights=balanced or train.sampling=balanced" in finding.advice
        assert "f1 or auroc rather than accuracy" in finding.advice


def test_a_class_without_train_rows_is_not_the_smallest() -> None:
    subject = make_subject(noise(1), coins(), classes=("no", "yes", "never"))
    assert "'never'" not in only(imbalance(subject, counts_of(subject))).text


def test_labels_that_few_rows_have_are_listed_the_rarest_first() -> None:
    targets = np.column_stack((coins(), np.arange(600) < 48, np.arange(600) < 30)).astype(np.float32)
    subject = make_subject(noise(1), targets, task="multilabel", classes=("red", "blue", "green"))
    finding = only(imbalance(subject, counts_of(subject)))
    assert finding.verdict == "WARN"
    assert finding.text.endswith("'green' on 5.0%, 'blue' on 8.3%")
    even = make_subject(noise(1), targets[:, :1], task="multilabel", classes=("red",))
    assert only(imbalance(even, counts_of(even))).verdict == "PASS"


def test_numbers_have_no_classes() -> None:
    subject = make_subject(noise(1), noise(1)[:, 0], task="regression")
    assert only(imbalance(subject, counts_of(subject))).verdict == "PASS"
