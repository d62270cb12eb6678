"""Splits are disjoint, cover every row, tear no group apart, and have their shares of rows and of each class."""

from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Split
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.splitting.duplicates import exact_groups, merge
from pipeline.data.splitting.splits import Splits, split_rows
from pipeline.data.splitting.strata import strata_of
from pipeline.errors import DataError

FRACTIONS = {"validation_fraction": 0.2, "test_fraction": 0.2}
Numbers = NDArray[np.int64]


def section(**keys: Any) -> PrepareConfig:
    return PrepareConfig(**(FRACTIONS | keys))


def by_time(**keys: Any) -> PrepareConfig:
    return section(split="time", split_column="when", **keys)


def split(groups: Any, strata: Any = None, *, config: PrepareConfig | None = None, **keywords: Any) -> Splits:
    numbers = None if strata is None else np.asarray(strata, dtype=np.int64)
    return split_rows(np.asarray(groups, dtype=np.int64), strata=numbers, section=config or section(), **keywords)


def shares(splits: Splits) -> dict[str, float]:
    return {name: len(rows) / len(splits.assignment) for name, rows in splits.rows.items()}


def torn(groups: Numbers, splits: Splits) -> int:
    kept = splits.assignment >= 0
    return len(np.unique(np.column_stack((groups[kept], splits.assignment[kept])), axis=0)) - len(np.unique(groups[kept]))


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=15, max_size=120),
    classes=st.integers(1, 4),
    seed=st.integers(0, 1000),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
def test_rows_are_split_without_loss_and_groups_stay_whole(
    sizes: list[int], classes: int, seed: int, validation: float, test: float
) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    strata = rng.integers(0, classes, len(sizes))[groups]
    config = section(split_seed=seed, validation_fraction=validation, test_fraction=test)
    splits = split(groups, strata, config=config)
    together = np.concatenate(list(splits.rows.values()))
    assert sorted(together.tolist()) == list(range(len(groups)))
    assert torn(groups, splits) == 0
    assert all(len(rows) for rows in splits.rows.values())
    assert all((np.diff(rows) > 0).all() for rows in splits.rows.values())


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.integers(20, 400), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    validation=st.floats(0.1, 0.4),
    test=st.floats(0.1, 0.4),
)
def test_shares_of_distinct_rows_are_exact_to_a_row_in_all_and_in_each_stratum(
    rows: list[int], seed: int, validation: float, test: float
) -> None:
    strata = np.repeat(np.arange(len(rows)), rows)
    splits = split(
        np.arange(len(strata)), strata, config=section(split_seed=seed, validation_fraction=validation, test_fraction=test)
    )
    wanted = np.array([1 - validation - test, validation, test])
    assert np.abs(np.bincount(splits.assignment, minlength=3) - wanted * len(strata)).max() <= 1.01
    for stratum, count in enumerate(rows):
        found = np.bincount(splits.assignment[strata == stratum], minlength=3)
        assert np.abs(found - wanted * count).max() <= 2
        assert found.min() >= 1


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=60, max_size=200), seed=st.integers(0, 1000))
def test_shares_are_of_rows_to_within_a_group(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    splits = split(groups, config=section(split_seed=seed))
    assert abs(len(splits.rows["test"]) - 0.2 * len(groups)) <= max(sizes) / 2
    assert abs(len(splits.rows["test"]) + len(splits.rows["validation"]) - 0.4 * len(groups)) <= max(sizes) / 2


def test_many_small_classes_do_not_add_up_their_roundings() -> None:
    strata = np.repeat(np.arange(1_000), 7)
    found = shares(split(np.arange(7_000), strata))
    assert found["test"] == pytest.approx(0.2, abs=1e-3)
    assert found["validation"] == pytest.approx(0.2, abs=1e-3)


def test_a_class_with_three_rows_has_one_in_each_split() -> None:
    strata = np.array([0] * 500 + [1] * 3)
    for seed in range(20):
        assignment = split(np.arange(503), strata, config=section(split_seed=seed)).assignment
        assert sorted(assignment[strata == 1].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("source", ["digits", "breast_cancer", "wine", "iris", "diabetes"])
def test_every_built_in_set_splits_without_leaks_and_with_every_class_in_its_share(source: str) -> None:
    loaded = getattr(sklearn.datasets, f"load_{source}")()
    task: Any = "regression" if source == "diabetes" else "classification"
    _, groups = np.unique(loaded.data, axis=0, return_inverse=True)
    splits = split(groups.reshape(-1), strata_of(loaded.target, task))
    contents = [{row.tobytes() for row in loaded.data[members]} for members in splits.rows.values()]
    assert not contents[0] & contents[1] | contents[0] & contents[2] | contents[1] & contents[2]
    if task == "classification":
        whole = np.bincount(loaded.target) / len(loaded.target)
        for members in splits.rows.values():
            found = np.bincount(loaded.target[members], minlength=len(whole)) / len(members)
            assert np.abs(found - whole).max() < 0.03
    else:
        means = [loaded.target[members].mean() for members in splits.rows.values()]
        assert max(means) - min(means) < 0.25 * loaded.target.std()


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    first, again, other = (split(np.arange(100), config=section(split_seed=seed)).assignment for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_random_split_does_not_look_at_classes() -> None:
    strata = np.repeat(np.arange(2), 100)
    config = section(split="random")
    plain = split(np.arange(200), None, config=config).assignment
    np.testing.assert_array_equal(split(np.arange(200), strata, config=config).assignment, plain)
    one = split(np.arange(200), [0] * 199 + [1], config=config, classes=("a", "b"))  # a class of one row is refused elsewhere
    np.testing.assert_array_equal(one.assignment, plain)


def test_groups_and_duplicates_together_never_straddle() -> None:
    patients = np.arange(400) // 8
    copies = np.arange(400)
    copies[[7, 100, 399]] = [8, 8, 100]  # of three patients in a chain, and one more
    splits = split(
        merge(exact_groups(copies.astype(np.uint64)), patients), config=section(split="grouped", split_column="patient")
    )
    assert torn(patients, splits) == torn(copies, splits) == 0


def test_a_group_of_most_rows_goes_to_train_and_the_share_that_is_missed_is_told() -> None:
    groups = np.concatenate((np.zeros(700), np.arange(1, 31).repeat(10)))
    for seed in range(20):
        splits = split(groups, config=section(split="grouped", split_column="site", split_seed=seed))
        assert (splits.assignment[:700] == 0).all()
        assert shares(splits)["test"] == pytest.approx(
            0.15, abs=0.006
        )  # train's share is taken, and the others get the rest alike
        assert shares(splits)["validation"] == pytest.approx(0.15, abs=0.006)
    splits = split(np.repeat([0, 1, 2], [900, 60, 40]), config=section(split="grouped", split_column="site"))
    assert [SPLITS[splits.assignment[at]] for at in (0, 900, 960)] == ["train", "validation", "test"]
    assert [finding.check for finding in splits.findings] == ["shares", "shares"]
    assert "test has 4.0% of the rows instead of 20.0%" in splits.findings[1].text
    assert "the largest of 3 groups has 900 of 1,000 rows" in splits.findings[1].text


def test_strata_of_one_group_each_leave_no_split_empty() -> None:
    groups = np.repeat(np.arange(6), [100, 5, 5, 5, 5, 5])
    splits = split(groups, groups, config=section(split="grouped", split_column="site"))
    assert all(len(rows) for rows in splits.rows.values())
    assert torn(groups, splits) == 0


def test_groups_with_gaps_in_their_numbers_are_fine() -> None:
    assert torn(np.arange(50) * 7 % 100, split(np.arange(50) * 7 % 100)) == 0


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), times=st.integers(3, 60), rows=st.integers(60, 200))
def test_nothing_in_train_is_later_than_what_validation_and_test_begin_with(seed: int, times: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    order = np.concatenate((np.arange(times), rng.integers(0, times, rows))).astype(np.float64)
    splits = split(np.arange(len(order)), config=by_time(), order=order)
    train, validation, test = (order[splits.rows[name]] for name in SPLITS)
    assert train.max() < validation.min() <= validation.max() < test.min()
    assert splits.starts == validation.min()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_duplicate_that_comes_later_takes_its_group_along(seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(200).astype(np.float64)
    groups = np.arange(200)
    groups[rng.choice(200, 30, replace=False)] = rng.integers(0, 200, 30)
    splits = split(groups, config=by_time(), order=order)
    alone = split(np.arange(200), config=by_time(), order=order)
    assert torn(groups, splits) == 0
    assert splits.starts == alone.starts
    assert order[splits.rows["train"]].max() < splits.starts
    assert (splits.assignment >= alone.assignment).all()
    moved = int((splits.assignment != alone.assignment).sum())
    told = [finding for finding in splits.findings if finding.check == "duplicates"]
    assert [finding.text.startswith(f"{moved} row(s) have a later duplicate") for finding in told] == [True] * (moved > 0)


def test_rows_without_a_time_or_with_too_few_times_are_refused() -> None:
    order = np.array([1.0, 2, np.nan, 4, 5])
    with pytest.raises(DataError, match=r"1 row\(s\) have no time in column 'when', the first is line 4; remove them"):
        split(np.arange(5), config=by_time(), order=order, place=lambda row: f"line {row + 2}")
    with pytest.raises(DataError, match=r"column 'when' has 2 distinct time\(s\), and three splits need three"):
        split(np.arange(5), config=by_time(), order=np.array([1.0, 1, 2, 2, 2]))


def test_given_splits_are_kept_and_rows_that_are_in_none_stay_out() -> None:
    given_splits = np.array([0, 0, 1, 2, -1, 0], dtype=np.int8)
    splits = split(np.arange(6), config=section(split="column", split_column="part"), given=given_splits)
    np.testing.assert_array_equal(splits.assignment, given_splits)
    assert not splits.findings


def test_a_row_that_is_in_two_given_splits_stays_in_the_one_that_is_to_be_protected() -> None:
    given_splits = np.array([0, 0, 1, 1, 2, 2, 0], dtype=np.int8)
    groups = np.array([0, 1, 1, 2, 2, 0, 3])
    splits = split(groups, given=given_splits)
    assert splits.assignment.tolist() == [-1, -1, 1, -1, 2, 2, 0]
    (finding,) = splits.findings
    assert finding.verdict == "WARN"
    assert (
        finding.text == "2 of train and 1 of validation are also, or nearly, in a later split, and are left out: rows 0, 1, 3"
    )
    assert finding.rows == (0, 1, 3)


@pytest.mark.parametrize(("present", "cut"), [((0, 2), ["validation"]), ((0, 1), ["test"]), ((0,), ["validation", "test"])])
def test_a_split_that_the_data_does_not_name_is_cut_from_train_with_groups_whole(
    present: tuple[int, ...], cut: list[Split]
) -> None:
    rng = np.random.default_rng(0)
    given_splits = np.repeat(np.array(present, dtype=np.int8), 500)
    groups = np.arange(len(given_splits)) // 2
    splits = split(groups, rng.integers(0, 3, len(given_splits)), given=given_splits)
    was_train = given_splits == 0
    np.testing.assert_array_equal(splits.assignment[~was_train], given_splits[~was_train])
    assert torn(groups, splits) == 0
    for name in cut:
        assert len(splits.rows[name]) == pytest.approx(100, abs=4)


def test_given_splits_without_train_rows_are_refused() -> None:
    with pytest.raises(DataError, match="leaves no row for train; name rows of each split in column 'part'"):
        split(np.arange(4), config=section(split="column", split_column="part"), given=np.array([1, 1, 2, 2], dtype=np.int8))


@pytest.mark.parametrize(
    ("groups", "config", "message"),
    [
        ([0, 1], section(), r"the source has 2 row\(s\), and each of the three splits needs one; add rows"),
        ([0] * 9, section(), "9 rows are 1 distinct rows, and each of the three splits needs one; add rows"),
        ([0, 1] * 9, section(split="grouped", split_column="site"), "18 rows are 2 groups of column 'site'.*name a finer"),
    ],
)
def test_too_few_groups_are_refused_with_the_counts(groups: list[int], config: PrepareConfig, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(groups, config=config)


def test_every_class_too_rare_for_three_splits_is_named_in_a_line_of_its_own() -> None:
    strata = np.array([0] * 40 + [1, 1] + [2, 2, 2, 2])
    groups = np.arange(46)
    groups[43:] = 42  # four rows of class 2, all the same
    with pytest.raises(DataError) as refused:
        split(groups, strata, classes=("common", "rare", "repeated"))
    assert len(refused.value.lines) == 2
    assert refused.value.lines[0].startswith(
        "prepare: class 'rare' is in 2 distinct row(s); each of the three splits needs one"
    )
    assert refused.value.lines[1].startswith("prepare: class 'repeated' is in 1 distinct row(s)")
    many = np.concatenate((np.zeros(40, dtype=np.int64), np.arange(1, 9)))
    with pytest.raises(DataError) as refused:
        split(np.arange(48), many, classes=tuple("abcdefghi"))
    assert refused.value.lines[-1] == "prepare: and 3 more classes like that"
