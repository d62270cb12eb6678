"""Equal rows share a number, nearly equal ones too, and no close pair is overlooked."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data.splitting import duplicates
from pipeline.data.splitting.duplicates import Groups, exact_groups, merge, near_groups, thumbnails

TOLERANCE = 0.01


def near(numbers: NDArray[np.float64], *, tolerance: float = TOLERANCE, rest: list[int] | None = None) -> duplicates.Grouping:
    wide = numbers.astype(np.float32)
    others = np.zeros(len(wide), dtype=np.uint64) if rest is None else np.array(rest, dtype=np.uint64)
    _, exact = np.unique(np.column_stack((wide, others)), axis=0, return_inverse=True)
    return near_groups(wide, others, exact.reshape(-1).astype(np.int64), tolerance=tolerance)


def same_partition(one: Groups, other: Groups) -> bool:
    pairs = len(np.unique(np.column_stack((one, other)), axis=0))
    return pairs == len(np.unique(one)) == len(np.unique(other))


def closure(close: NDArray[np.bool_]) -> Groups:
    """The groups of a relation, the slow way: reach as far as one can."""
    for _ in range(len(close)):
        further = (close.astype(int) @ close.astype(int)) > 0
        if (further == close).all():
            break
        close = further
    return np.asarray(close.argmax(axis=1), dtype=np.int64)


@given(st.lists(st.integers(0, 5), max_size=50))
def test_equal_hashes_have_equal_numbers_and_others_have_others(values: list[int]) -> None:
    groups = exact_groups(np.array(values, dtype=np.uint64))
    assert same_partition(groups, np.array(values, dtype=np.int64))
    assert sorted(set(groups.tolist())) == list(range(len(set(values))))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 60),
    st.integers(1, 3),
    st.sampled_from([0.5, 0.9, 1.0, 1.1, 2.0]),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
)
def test_near_groups_are_what_comparing_every_pair_gives(rows: int, columns: int, reach: float, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(max(rows // 2, 1), columns))
    numbers = centers[rng.integers(0, len(centers), rows)] + rng.uniform(-1, 1, (rows, columns)) * TOLERANCE * reach
    rest = rng.integers(0, kinds, rows)
    wide = numbers.astype(np.float32).astype(np.float64)
    close = (np.abs(wide[:, np.newaxis] - wide[np.newaxis]) <= TOLERANCE).all(axis=2) & (
        rest[:, np.newaxis] == rest[np.newaxis]
    )
    found = near(numbers, rest=rest.tolist())
    assert found.note is None
    assert same_partition(found.groups, closure(close))
    assert found.near == len(np.unique(np.column_stack((wide, rest)), axis=0)) - len(np.unique(found.groups))


def test_a_pair_across_the_border_of_two_cells_is_found() -> None:
    numbers = np.random.default_rng(0).normal(size=(3_000, 4))
    numbers[1::2] = numbers[::2] + TOLERANCE * 0.99
    found = near(numbers, tolerance=TOLERANCE)
    assert (found.groups[::2] == found.groups[1::2]).all()


def test_other_categories_or_another_missing_pattern_keep_rows_apart() -> None:
    numbers = np.array([[0.0, np.nan], [0.001, np.nan], [0.001, 0.0]])
    groups = near(numbers, rest=[1, 1, 2]).groups
    assert groups[0] == groups[1] != groups[2]
    groups = near(numbers[:2], rest=[1, 3]).groups
    assert groups[0] != groups[1]


def test_equal_rows_stay_together_without_any_tolerance() -> None:
    found = near(np.array([[1.0], [2.0], [1.0]]), tolerance=0.0)
    assert found.groups[0] == found.groups[2] != found.groups[1]
    assert (found.exact, found.near) == (1, 0)


def test_data_so_dense_that_neighbors_chain_keeps_only_equal_rows_and_says_why() -> None:
    found = near(np.random.default_rng(0).normal(size=(20_000, 1)), tolerance=1e-3)
    assert found.near == 0
    assert len(np.unique(found.groups)) == 20_000 - found.exact
    assert found.note is not None
    assert "chains of neighbors" in found.note


def test_many_jittered_copies_are_duplicates_and_not_a_chain() -> None:
    rng = np.random.default_rng(0)
    numbers = np.repeat(rng.normal(size=(200, 5)), 20, axis=0) + rng.uniform(-1, 1, (4_000, 5)) * 1e-6
    found = near(numbers, tolerance=1e-4)
    assert same_partition(found.groups, np.repeat(np.arange(200), 20))
    assert found.note is None


def test_what_would_take_too_long_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).normal(size=(1_000, 2))
    monkeypatch.setattr(duplicates, "MOST_ROWS", 999)
    note = near(numbers).note
    assert note is not None
    assert "999 distinct rows at most, and there are 1,000" in note
    monkeypatch.undo()
    monkeypatch.setattr(duplicates, "_MOST_CANDIDATES", 3)
    note = near(numbers, tolerance=0.1).note
    assert note is not None
    assert "too many rows lie within 0.1" in note


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=9))
def test_merged_groups_are_together_where_either_grouping_has_them_together(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array(groups, dtype=np.int64) for groups in zip(*pairs, strict=True))
    together = (one[:, np.newaxis] == one) | (other[:, np.newaxis] == other)
    assert same_partition(merge(one, other), closure(together))


def test_five_hundred_thousand_rows_take_seconds() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(duplicates.MOST_ROWS, 10)).astype(np.float32)
    numbers[1_000:2_000] = numbers[:1_000] + np.float32(5e-5)
    start = time.process_time()
    found = near_groups(numbers, np.zeros(len(numbers), dtype=np.uint64), np.arange(len(numbers)), tolerance=1e-4)
    assert time.process_time() - start < 20  # 1 s on two quiet cores
    assert (found.groups[1_000:2_000] == found.groups[:1_000]).all()
    assert found.near == 1_000


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (5, 3), (3, 30, 17), (1, 9, 9)])
def test_a_thumbnail_has_64_values_between_0_and_1_for_each_channel(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    small = thumbnails(images)
    channels = shape[0] if len(shape) == 3 else 1
    assert small.shape == (4, 64 * channels)
    assert small.dtype == np.float32
    assert 0 <= small.min() <= small.max() <= 1
    np.testing.assert_allclose(thumbnails(images / 255, high=1.0), small, atol=1e-6)


def test_a_thumbnail_is_the_mean_of_each_block() -> None:
    image = np.kron(np.arange(64).reshape(8, 8), np.ones((3, 2)))[np.newaxis]
    np.testing.assert_allclose(thumbnails(image, high=63.0)[0], np.arange(64) / 63, rtol=1e-6)


def test_thumbnails_join_a_picture_with_its_recompressed_copy_and_not_with_another_color() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(20, 200, (3, 32, 32))
    noisy = picture + rng.integers(-2, 3, picture.shape)
    recolored = picture[[1, 2, 0]]
    small = thumbnails(np.stack((picture, noisy, recolored)).astype(np.uint8))
    groups = near_groups(small, np.zeros(3, dtype=np.uint64), np.arange(3), tolerance=2 / 255).groups
    assert groups[0] == groups[1] != groups[2]


def test_a_picture_of_one_value_has_a_thumbnail_too() -> None:
    assert np.isfinite(thumbnails(np.full((1, 9, 9), 3.0), low=3.0, high=3.0)).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_groups_are_numbered_by_first_appearance_whatever_the_hashes_are(rows: list[int]) -> None:
    hashes = np.random.default_rng(len(rows)).integers(0, 2**63, 10).astype(np.uint64)
    expected = [list(dict.fromkeys(rows)).index(row) for row in rows]
    assert exact_groups(hashes[rows]).tolist() == expected
