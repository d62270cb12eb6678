"""Splits are disjoint, cover every row, share no duplicate, and keep each class's share."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.sources import SOURCES, load
from pipeline.data.splits import split_rows
from pipeline.errors import DataError


def split(
    inputs: NDArray[Any], targets: NDArray[Any], *, seed: int = 0, classification: bool = True
) -> dict[Any, NDArray[np.int64]]:
    return split_rows(
        inputs.astype(np.float32),
        targets,
        validation_fraction=0.2,
        test_fraction=0.2,
        seed=seed,
        classification=classification,
    )


@settings(max_examples=50, deadline=None)
@given(repeats=st.lists(st.integers(1, 4), min_size=15, max_size=80), seed=st.integers(0, 1000))
def test_rows_are_split_without_loss_and_identical_rows_stay_together(repeats: list[int], seed: int) -> None:
    distinct = np.random.default_rng(seed).normal(size=(len(repeats), 2))
    inputs = np.repeat(distinct, repeats, axis=0)
    targets = np.arange(len(inputs), dtype=np.float32)
    chosen = split(inputs, targets, seed=seed, classification=False)
    together = np.concatenate(list(chosen.values()))
    assert sorted(together.tolist()) == list(range(len(inputs)))
    seen = [{tuple(row) for row in inputs[rows].tolist()} for rows in chosen.values()]
    assert len(seen) == 3
    assert seen[0].isdisjoint(seen[1])
    assert seen[0].isdisjoint(seen[2])
    assert seen[1].isdisjoint(seen[2])


@pytest.mark.parametrize("source", SOURCES)
def test_every_built_in_set_splits_without_leaks_and_with_every_class_in_each_split(source: str) -> None:
    rows = load(source)
    classification = rows.task == "classification"
    chosen = split(rows.inputs, rows.targets, classification=classification)
    flat = rows.inputs.reshape(len(rows.inputs), -1)
    contents = [{row.tobytes() for row in flat[members]} for members in chosen.values()]
    assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]
    if classification:
        whole = np.bincount(rows.targets) / len(rows.targets)
        for members in chosen.values():
            shares = np.bincount(rows.targets[members], minlength=len(whole)) / len(members)
            assert np.abs(shares - whole).max() < 0.03
    else:
        means = [rows.targets[members].mean() for members in chosen.values()]
        assert max(means) - min(means) < 0.25 * rows.targets.std()


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    rows = load("wine")
    first, again, other = (split(rows.inputs, rows.targets, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["test"], other["test"])


def test_a_class_too_rare_for_three_splits_is_named() -> None:
    targets = np.zeros(40, dtype=np.int64)
    targets[:2] = 1
    with pytest.raises(DataError, match=r"class 1 has 2 distinct row\(s\)"):
        split(np.arange(40.0).reshape(40, 1), targets)


def test_too_few_rows_for_the_fractions_are_refused_with_the_counts() -> None:
    with pytest.raises(DataError, match="9 distinct rows cannot be split into test 2"):
        split(np.arange(9.0).reshape(9, 1), np.repeat([0, 1, 2], 3))
