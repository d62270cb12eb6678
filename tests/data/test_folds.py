"""Each row that is not test is scored in exactly one fold, and groups and shares hold in every fold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.splitting.folds import fold_rows
from pipeline.data.splitting.splits import split_rows
from pipeline.errors import DataError


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=16, max_size=120),
    folds=st.integers(2, 7),
    classes=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_every_row_outside_of_test_is_scored_once_and_groups_stay_whole(
    sizes: list[int], folds: int, classes: int, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    strata = np.random.default_rng(seed).integers(0, classes, len(sizes))[groups]
    section = PrepareConfig(split_seed=seed)
    splits = split_rows(groups, strata=strata, section=section).assignment
    scored = np.zeros(len(groups), dtype=np.int64)
    for fold in range(folds):
        assignment = fold_rows(groups, strata, splits=splits, folds=folds, fold=fold, section=section)
        np.testing.assert_array_equal(assignment == -1, splits == 2)
        assert set(assignment.tolist()) == {-1, 0, 1, 2}
        assert len(np.unique(np.column_stack((groups, assignment)), axis=0)) == len(sizes)
        scored += assignment == 2
    np.testing.assert_array_equal(scored, (splits != 2).astype(np.int64))


@pytest.mark.parametrize("largest", [1, 8])
def test_folds_have_equally_many_rows_and_equally_many_of_each_class(largest: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(500), rng.integers(1, largest + 1, 500))
    strata = rng.choice(3, 500, p=(0.7, 0.2, 0.1))[groups]
    section = PrepareConfig()
    splits = split_rows(groups, strata=strata, section=section).assignment
    counts = np.array(
        [
            np.bincount(strata[fold_rows(groups, strata, splits=splits, folds=5, fold=fold, section=section) == 2], minlength=3)
            for fold in range(5)
        ]
    )
    assert np.ptp(counts.sum(axis=1)) <= largest
    assert np.ptp(counts, axis=0).max() <= largest


def test_classes_with_fewer_rows_than_folds_still_give_folds_of_equal_size() -> None:
    strata = np.repeat(np.arange(41), 5)
    splits = np.zeros(len(strata), dtype=np.int8)
    sizes = [
        int((fold_rows(np.arange(len(strata)), strata, splits=splits, folds=7, fold=fold, section=PrepareConfig()) == 2).sum())
        for fold in range(7)
    ]
    assert max(sizes) - min(sizes) <= 1


def test_the_rest_of_a_fold_is_cut_with_the_share_of_validation() -> None:
    section = PrepareConfig(validation_fraction=0.25)
    splits = np.zeros(1_000, dtype=np.int8)
    assignment = fold_rows(np.arange(1_000), None, splits=splits, folds=5, fold=0, section=section)
    assert np.bincount(assignment).tolist() == [600, 200, 200]


def test_a_fold_that_leaves_nothing_to_validate_on_is_refused() -> None:
    groups = np.repeat([0, 1, 2], [50, 10, 10])
    with pytest.raises(
        DataError, match="fold 2 of 2 leaves one group of rows for train and validation together; set more folds"
    ):
        fold_rows(groups, None, splits=np.zeros(70, dtype=np.int8), folds=2, fold=1, section=PrepareConfig())


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match="5 folds need at least 5 groups of rows that are not test, and there are 4"):
        fold_rows(
            np.arange(9) // 2, None, splits=np.array([0] * 8 + [2], dtype=np.int8), folds=5, fold=0, section=PrepareConfig()
        )
