"""Rows that are the same, or nearly so: numbered groups that no split may tear apart.

exact = exact_groups(hashes)                                  # (rows,) equal inputs, equal number
found = near_groups(numbers, rest, exact, tolerance=1e-4)     # nearly equal inputs, too
groups = merge(found.groups, patients)                        # and rows of the same patient
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 500_000  # near-duplicates of more rows are not looked for
_MOST_CANDIDATES = 60_000_000  # pairs of rows that are compared, at about 50 ns each
_MOST_PAIRS = 10_000_000  # pairs of near-duplicates in memory, 8 bytes each
_CHAIN = 8  # tolerances: a group that is wider is a chain of neighbors, and its ends are not nearly the same
_MOST_CHAINED = 0.1  # share of the distinct rows
_SIDE = 8  # blocks in each direction of a thumbnail
_SEED = 0  # of the projections; they change how long it takes, never the result

Groups = NDArray[np.int64]


@dataclass(frozen=True)
class Grouping:
    """groups: (rows,) equal for rows that stay together. exact: rows that repeat another; near: distinct rows that nearly do.

    note: why near-duplicates were not looked for, or not kept together; None where they were.
    """

    groups: Groups
    exact: int
    near: int = 0
    note: str | None = None


def exact_groups(hashes: NDArray[np.uint64]) -> Groups:
    """Return the number of each row's group, (rows,), in order of first appearance; hashes: (rows,), equal for equal inputs.

    Numbers that followed the hashes would split rows otherwise with every version of the hash.
    """
    ordered = np.sort(hashes)  # a tenth of the time of argsort
    repeats = ordered[1:] == ordered[:-1]
    del ordered  # 80 MB of ten million rows
    if not repeats.any():
        return np.arange(len(hashes))
    order = np.argsort(hashes, kind="stable")  # of equal rows the first comes first
    begins = np.concatenate(([True], ~repeats))
    firsts = order[begins]  # (groups,) where each appears first
    numbers = np.empty_like(firsts)
    numbers[np.argsort(firsts)] = np.arange(len(firsts))
    groups = np.empty(len(hashes), dtype=np.int64)
    groups[order] = np.repeat(numbers, np.diff(np.flatnonzero(begins), append=len(hashes)))
    return groups


def near_groups(numbers: NDArray[np.float32], rest: NDArray[np.uint64], exact: Groups, *, tolerance: float) -> Grouping:
    """Join groups of equal rows whose `rest` is equal and whose numbers all differ by at most `tolerance`, transitively.

    numbers: (rows, columns) in standard deviations, NaN where missing; rest: (rows,) hash of all that is no number, and of
    which numbers are missing; exact: (rows,) groups of equal rows. No such pair is overlooked: rows this close are also close
    in every projection, so candidates come from cells of two random projections, sorted by a third, and each is then compared.
    Data so dense that ordinary neighbors chain keeps the groups of equal rows, as more than MOST_ROWS do; `note` says so.
    """
    groups = int(exact.max()) + 1 if len(exact) else 0
    plain = Grouping(exact, len(exact) - groups)
    if tolerance == 0 or groups < 2:
        return plain
    if numbers.shape[1] == 0:
        alike = exact_groups(rest)
        return Grouping(alike, plain.exact, groups - int(alike.max()) - 1)
    if groups > MOST_ROWS:
        return _without(
            plain, f"near-duplicates are looked for among {MOST_ROWS:,} distinct rows at most, and there are {groups:,}"
        )
    first = np.empty(groups, dtype=np.int64)
    first[exact[::-1]] = np.arange(len(exact))[::-1]
    values = np.nan_to_num(numbers[first])  # what is missing is equal, since `rest` is
    pairs = _near_pairs(values, rest[first], tolerance)
    if pairs is None:
        return _without(plain, f"too many rows lie within {tolerance:g} of each other to look for near-duplicates")
    joined, count = _components(pairs[0], pairs[1], groups)
    chained = _chained(values, joined, tolerance)
    if chained > _MOST_CHAINED * groups:
        reason = (
            f"{chained:,} of {groups:,} distinct rows form chains of neighbors within {tolerance:g}, which are no duplicates"
        )
        return _without(plain, f"{reason}; only equal rows are kept together")
    return Grouping(joined[exact], plain.exact, groups - count)


def merge(one: Groups, other: Groups) -> Groups:
    """Return groups, (rows,), in which rows are together that are together in either of two groupings, transitively.

    one, other: (rows,) group numbers from 0, smaller than the number of rows.
    """
    several = np.flatnonzero(np.bincount(one)[one] > 1)  # a row that is alone in `one` is in its group of `other`
    others = int(other.max(initial=-1)) + 1
    joined, _ = _components(other[several], others + one[several], others + int(one.max(initial=-1)) + 1)
    return exact_groups(joined[other].astype(np.uint64))


def thumbnails(images: NDArray[np.generic], *, low: float = 0.0, high: float = 255.0) -> NDArray[np.float32]:
    """Return 8 x 8 means of blocks of each channel, (rows, 64 * channels), between 0 and 1.

    images: (rows, height, width) or (rows, channels, height, width), of any size; low and high: what becomes 0 and 1, the same
    for all rows of a source. Pictures whose thumbnails differ by at most 2/255 are the same to the eye.
    """
    means: NDArray[Any] = images
    for axis in (-1, -2):
        size = images.shape[axis]
        starts = np.arange(_SIDE) * size // _SIDE
        lengths = np.maximum(np.diff(starts, append=size), 1)  # fewer than 8 pixels are repeated
        sums = np.add.reduceat(means, starts, axis=axis, dtype=np.float32)
        means = sums / (lengths if axis == -1 else lengths[:, np.newaxis]).astype(np.float32)
    scaled = (means.reshape(len(images), -1) - low) / (high - low if high > low else 1.0)
    return np.asarray(scaled, dtype=np.float32)


def _without(plain: Grouping, note: str) -> Grouping:
    return Grouping(plain.groups, plain.exact, 0, note)


def _near_pairs(
    values: NDArray[np.float32], rest: NDArray[np.uint64], tolerance: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Return the two rows of each pair that is close in every column; None where too many have to be compared."""
    weights = np.random.default_rng(_SEED).normal(size=(values.shape[1], 3))
    places = values @ weights  # (rows, 3) float64
    widths = tolerance * np.abs(weights).sum(axis=0) * (1 + 1e-6) + 1e-12 * np.abs(places).max(
        axis=0
    )  # rounding cannot hide one
    cells = np.floor(places[:, :2] / widths[:2]).astype(np.int64)
    ones, others = [], []
    compared = found = 0
    for shift in product((0, 1), repeat=2):  # neighbors share a pair of cells in one of the four pairings
        block = _mixed(rest, (cells + shift) // 2)
        order = np.lexsort((places[:, 2], block)).astype(np.int32)
        for lower, upper in _neighbors(block[order], places[order, 2], widths[2]):
            compared += len(lower)
            one, other = _verified(values, rest, order[lower], order[upper], tolerance)
            found += len(one)
            if compared > _MOST_CANDIDATES or found > _MOST_PAIRS:
                return None
            ones.append(one)
            others.append(other)
    return np.concatenate(ones), np.concatenate(others)


def _mixed(rest: NDArray[np.uint64], cells: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return one hash of all; a collision costs a comparison and nothing else."""
    mixed = rest
    for cell in cells.T:
        mixed = (mixed ^ cell.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio (Knuth, TAOCP 6.4)
        mixed ^= mixed >> np.uint64(32)
    return mixed


def _neighbors(
    block: NDArray[np.uint64], places: NDArray[np.float64], width: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of positions in the same block at most `width` apart, those with one, two, … positions between them.

    Both (rows,), sorted by block, then by place.
    """
    alive, step = np.arange(len(block)), 0
    while True:
        step += 1
        alive = alive[: np.searchsorted(alive, len(block) - step)]
        near = (block[alive] == block[alive + step]) & (places[alive + step] - places[alive] <= width)
        alive = alive[near]
        yield alive, alive + step
        if not alive.size:
            return


def _verified(
    values: NDArray[np.float32], rest: NDArray[np.uint64], one: NDArray[np.int32], other: NDArray[np.int32], tolerance: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    same = rest[one] == rest[other]
    one, other = one[same], other[same]
    for column in range(values.shape[1]):
        if not one.size:
            break
        near = np.abs(values[one, column].astype(np.float64) - values[other, column]) <= tolerance
        one, other = one[near], other[near]
    return one, other


def _components(one: NDArray[np.integer], other: NDArray[np.integer], nodes: int) -> tuple[Groups, int]:
    """Return the number of each node's connected component, (nodes,), and how many there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(one), dtype=np.int8), (one.astype(np.int32), other.astype(np.int32))), shape=(nodes, nodes))
    count, labels = connected_components(edges, directed=False)
    return labels.astype(np.int64), int(count)


def _chained(values: NDArray[np.float32], joined: Groups, tolerance: float) -> int:
    """Return how many rows are in groups that are wide, though each is made of close pairs."""
    order = np.argsort(joined, kind="stable")
    starts = np.flatnonzero(np.diff(joined[order], prepend=-1))
    wide = np.zeros(len(starts), dtype=bool)
    for column in values.T:
        ordered = column[order]
        wide |= np.maximum.reduceat(ordered, starts) - np.minimum.reduceat(ordered, starts) > _CHAIN * tolerance
    return int(np.diff(starts, append=len(order))[wide].sum())
