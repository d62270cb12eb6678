"""All checks together: each says what it looked at, in time, and the report of sound rows is quiet."""

import time
from datetime import date
from typing import Any

import numpy as np
import pytest
import sklearn.datasets

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks import check_rows
from serving.schema import Feature
from tests.data.checks.subjects import coins, make_subject, noise

TABLE_CHECKS = {"few_rows", "imbalance", "conflicting_labels", "shift", "leak", "unseen", "future_dates", "precision"}
IMAGE_CHECKS = {"few_rows", "imbalance", "conflicting_labels", "shift", "broken_images"}


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_each_check_of_a_sound_table_says_once_what_it_looked_at(task: Any) -> None:
    targets: Any = {
        "classification": coins(),
        "multilabel": np.column_stack((coins(), coins(seed=2))),
        "regression": noise(1)[:, 0],
    }
    findings = check_rows(make_subject(noise(3, seed=3), targets[task], task=task))
    assert sorted(finding.check for finding in findings) == sorted(TABLE_CHECKS)
    assert {finding.verdict for finding in findings} == {"PASS"}
    assert all(finding.text for finding in findings)


def test_columns_of_pictures_are_not_looked_at() -> None:
    findings = check_rows(make_subject(np.random.default_rng(0).random((600, 3, 5, 5)), coins()))
    assert {finding.check for finding in findings} == IMAGE_CHECKS
    assert {finding.verdict for finding in findings} == {"PASS"}


@pytest.mark.parametrize("source", ["iris", "wine", "breast_cancer", "diabetes"])
def test_no_check_fires_on_a_built_in_set(source: str) -> None:
    loaded = getattr(sklearn.datasets, f"load_{source}")(**({"scaled": False} if source == "diabetes" else {}))
    order = np.random.default_rng(0).permutation(len(loaded.target))
    features = [Feature(str(name), 0, 1) for name in loaded.feature_names]
    keywords: Any = {"task": "regression"} if source == "diabetes" else {"classes": [str(name) for name in loaded.target_names]}
    targets = loaded.target[order].astype(np.float32 if source == "diabetes" else np.int64)
    findings = check_rows(make_subject(loaded.data[order], targets, features=features, **keywords))
    assert [finding.text for finding in findings if finding.verdict != "PASS"] == []


def test_counts_of_all_rows_go_before_those_of_the_sample() -> None:
    rare = np.array([100_000, 4])
    findings = check_rows(make_subject(noise(1), coins()), classes={"train": rare, "validation": rare, "test": rare})
    assert {finding.check for finding in findings if finding.verdict == "WARN"} == {"imbalance"}
    rare = np.array([100_000, 3])
    findings = check_rows(make_subject(noise(1), coins()), classes={"train": rare, "validation": rare, "test": rare})
    assert {finding.check for finding in findings if finding.verdict == "WARN"} == {"imbalance", "few_rows"}


def test_the_time_of_a_split_and_the_day_of_today_reach_the_dates() -> None:
    features = (Feature("size", 0, 1), Feature("paid", 0, 1, "date"))
    inputs = np.column_stack((noise(1), np.full(600, 20_000), np.zeros(600)))
    subject = make_subject(inputs, coins(), features=features, config=PrepareConfig(split="time", split_column="when"))
    kept: Any = {"today": date(2024, 12, 31)}
    assert all(finding.verdict == "PASS" for finding in check_rows(subject, boundary_day=20_001, **kept))
    assert [finding.check for finding in check_rows(subject, boundary_day=19_999, **kept) if finding.verdict == "WARN"] == [
        "future_dates"
    ]
    early = check_rows(subject, boundary_day=20_001, today=date(2020, 1, 1))
    assert [finding.check for finding in early if finding.verdict == "WARN"] == ["future_dates"]
    assert all(finding.verdict == "PASS" for finding in check_rows(subject, boundary_day=20_001))  # 2024 is over


def test_a_hundred_thousand_rows_of_twenty_columns_take_seconds() -> None:
    subject = make_subject(noise(20, rows=100_000), coins(rows=100_000))
    start = time.process_time()
    check_rows(subject)
    assert time.process_time() - start < 5  # 1 s on two quiet cores
