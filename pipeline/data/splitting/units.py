"""Groups of rows that stay together, dealt out so that shares are shares of rows: by cuts for splits, in turns for folds.

Everything works on arrays with one value for each unit, so ten million units take seconds.
"""

import heapq
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Counts = NDArray[np.integer[Any]]
_LARGEST = 2_000  # units of a stratum that are dealt one by one; smaller ones in turns
_FEW_STRATA = 8  # that are picked one after the other, which is faster than sorting


@dataclass(frozen=True)
class Units:
    """Rows by group.

    of_row: (rows,) unit of each row, without gaps. sizes: (units,) rows of each. strata: (units,) the most frequent stratum of
    its rows. occurs: (strata,) in how many units each stratum occurs.
    """

    of_row: Numbers
    sizes: Numbers
    strata: Numbers
    occurs: Numbers


def units_of(groups: Numbers, strata: Numbers | None) -> Units:
    """Return the units of rows; groups: (rows,) numbers from 0, with gaps or without; strata: (rows,) numbers from 0."""
    sizes = np.bincount(groups)
    of_row = groups
    if not sizes.all():
        of_row = (np.cumsum(sizes > 0) - 1)[groups]
        sizes = sizes[sizes > 0]
    if strata is None:
        return Units(of_row, sizes, np.zeros(len(sizes), dtype=np.int64), np.array([len(sizes)]))
    count = int(strata.max(initial=0)) + 1
    of_unit = np.empty(len(sizes), dtype=np.int64)
    of_unit[of_row] = strata  # right for units of one row
    several = sizes > 1
    occurs = np.bincount(of_unit[~several] if several.any() else of_unit, minlength=count)
    if several.any():
        rows = np.flatnonzero(several[of_row])
        pairs, times = np.unique(of_row[rows] * count + strata[rows], return_counts=True)
        by_times = pairs[np.argsort(times, kind="stable")]
        of_unit[by_times // count] = by_times % count  # the last one stays: the most frequent
        occurs = occurs + np.bincount(pairs % count, minlength=count)
    return Units(of_row, sizes, of_unit, occurs)


def cut(sizes: Numbers, strata: Numbers, *, test: float, validation: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return the split of each unit, (units,), as an index into SPLITS; test and validation: shares of rows, or 0.

    Units in random order are cut where half of a unit lies on either side of the share, in each stratum; what a stratum has too
    many the next ones get fewer, so that roundings do not add up. A stratum with enough units has one in each split. Units that
    alone are more than a share go to train, the largest last.
    """
    chosen = np.zeros(len(sizes), dtype=np.int8)
    owed = (0.0, 0.0)
    narrow = sizes.astype(np.min_scalar_type(int(sizes.max(initial=0))))  # looked up at random: fits into the cache
    for members in _by_stratum(strata, rng):
        of_members = narrow[members]
        rows, largest = float(of_members.sum()), float(of_members.max())
        smallest = min(share for share in (test, validation) if share) * rows
        scale = min(1.0, (rows - largest) / rows / (test + validation)) or 1.0  # both get less of what the largest unit leaves
        shares = (test * scale, (test + validation) * scale)
        owed = _cut(chosen, *_large_last(members, of_members, smallest), shares, owed)
    found = np.bincount(chosen, minlength=3) > 0
    complete = found[0] and (found[1] or not validation) and (found[2] or not test)
    if not complete and strata.any():  # strata of one or two units each, whose shares are out of reach
        return cut(sizes, np.zeros_like(strata), test=test, validation=validation, rng=rng)
    return chosen


def cut_in_order(sizes: Numbers, *, test: float, validation: float) -> NDArray[np.int8]:
    """Return the split of each unit, (units,): the last ones are test, those before them validation."""
    chosen = np.zeros(len(sizes), dtype=np.int8)
    _cut(chosen, np.arange(len(sizes))[::-1], sizes[::-1], (test, test + validation), (0.0, 0.0))
    return chosen


def deal(sizes: Numbers, strata: Numbers, *, folds: int, rng: np.random.Generator) -> Numbers:
    """Return the fold of each unit, (units,): each stratum evenly over the folds, and the folds even in rows.

    Large units go one by one to the fold that has the fewest rows of their stratum (Graham 1969), the others in turns.
    """
    chosen = np.empty(len(sizes), dtype=np.int64)
    loads = np.zeros(folds, dtype=np.int64)
    for members in _by_stratum(strata, rng):
        by_size = members[np.argsort(-sizes[members], kind="stable")]
        one_by_one = min(_LARGEST, int((sizes[by_size] > 1).sum()))
        here = [(0, int(load), fold) for fold, load in enumerate(loads)]
        heapq.heapify(here)
        for unit in by_size[:one_by_one]:
            rows, load, fold = here[0]
            chosen[unit] = fold
            heapq.heapreplace(here, (rows + int(sizes[unit]), load, fold))
        turns = np.array([fold for _, _, fold in sorted(here, key=_rows_and_load)])
        small = by_size[one_by_one:]
        chosen[small] = turns[np.arange(len(small)) % folds]
        loads += np.bincount(chosen[members], weights=sizes[members], minlength=folds).astype(np.int64)
    return chosen


def _rows_and_load(entry: tuple[int, int, int]) -> tuple[int, int]:
    return entry[0], entry[0] + entry[1]


def _by_stratum(strata: Numbers, rng: np.random.Generator) -> list[Numbers]:
    """Return the units of each stratum that has any, in random order."""
    order = rng.permutation(np.arange(len(strata), dtype=np.int32 if len(strata) < 2**31 else np.int64))
    if not strata.any():
        return [order] if len(order) else []
    counts = np.bincount(strata)
    narrow = strata.astype(np.min_scalar_type(len(counts)))[order]
    present = np.flatnonzero(counts)
    if len(present) <= _FEW_STRATA:
        return [order[narrow == stratum] for stratum in present]
    order = order[np.argsort(narrow, kind="stable")]  # 16 bits sort by radix
    ends = np.cumsum(counts)
    return [order[start:end] for start, end in pairwise((0, *ends.tolist())) if end > start]


def _large_last(members: Numbers, rows: Counts, smallest: float) -> tuple[Numbers, Counts]:
    """Return units and the rows of each, those that are large moved to the end."""
    large = rows > max(smallest, 1)
    if not large.any():
        return members, rows
    by_size = np.flatnonzero(large)[np.argsort(rows[large], kind="stable")]
    order = np.concatenate((np.flatnonzero(~large), by_size))
    return members[order], rows[order]


def _cut(
    chosen: NDArray[np.int8],
    members: Numbers,
    rows: Counts,
    shares: tuple[float, float],
    owed: tuple[float, float],
) -> tuple[float, float]:
    """Write the splits of one stratum: its first members are test, then validation; return the rows that are still owed.

    rows: of each member. shares: of test, and of test and validation together.
    """
    alone = rows.max() == 1  # as most are: then there is nothing to add up
    ends = np.arange(1, len(rows) + 1) if alone else np.cumsum(rows, dtype=np.int64)
    wanted = [share * float(ends[-1]) + debt for share, debt in zip(shares, owed, strict=True)]
    first, second = (_with_half_before(ends, rows, rows_wanted) for rows_wanted in wanted)
    second = max(first, second)
    left = [rows_wanted - float(ends[at - 1] if at else 0) for rows_wanted, at in zip(wanted, (first, second), strict=True)]
    tests, validations = int(shares[0] > 0), int(shares[1] > shares[0])
    if len(members) > tests + validations:
        first = min(max(first, tests), len(members) - 1 - validations)
        second = min(max(second, first + validations), len(members) - 1)
    chosen[members[:first]] = 2
    chosen[members[first:second]] = 1
    return left[0], left[1]


def _with_half_before(ends: Numbers, rows: Counts, rows_wanted: float) -> int:
    """Return how many units have their middle row before a number of rows; ends: sums of `rows`."""
    whole = int(np.searchsorted(ends, rows_wanted))
    return whole + int(whole < len(rows) and ends[whole] - rows[whole] / 2 < rows_wanted)
