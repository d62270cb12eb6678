"""Splits that share no row and tear no group apart, and whose shares are shares of rows.

strata = strata_of(targets, task)                 # pipeline.data.splitting.strata
splits = split_rows(groups, strata=strata, section=config.prepare, classes=classes)
splits.rows["train"]                    # numbers of its rows, ascending
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.findings import Finding, some
from pipeline.data.splitting.units import Units, cut, cut_in_order, units_of
from pipeline.data.table import SplitRows
from pipeline.errors import DataError

Assignment = NDArray[np.int8]  # (rows,) index into SPLITS; LEFT_OUT: in none
Groups = NDArray[np.int64]
LEFT_OUT = np.int8(-1)
_TRAIN, _VALIDATION, _TEST = range(3)
_FAR = 0.25  # of a share: a split that misses it by more is told of
_FEWEST = 50  # rows; of fewer, a share is coarse anyway
_NAMED = 5


@dataclass(frozen=True)
class Splits:
    """assignment: (rows,) index into SPLITS, -1 where a row is in none; starts: of a split by time, when validation begins."""

    assignment: Assignment
    findings: tuple[Finding, ...] = ()
    starts: float | None = None

    @cached_property
    def rows(self) -> SplitRows:
        """Numbers of the rows of each split, ascending."""
        return {split: np.flatnonzero(self.assignment == index) for index, split in enumerate(SPLITS)}


def split_rows(
    groups: Groups,
    *,
    strata: NDArray[np.int64] | None,
    section: PrepareConfig,
    order: NDArray[np.float64] | None = None,
    given: NDArray[np.int8] | None = None,
    classes: Sequence[str] = (),
    place: Callable[[int], str] = lambda row: f"row {row}",
) -> Splits:
    """Return the split of each row; rows of one group are always together.

    groups: (rows,) numbers from 0. strata: (rows,) numbers from 0; each split gets its share of each. order: (rows,) time of a
    row, for split time. given: (rows,) index into SPLITS, or -1 for a row that is in none, for splits that the data names.
    classes: names of the strata, where they are classes. Raises DataError, one line for each fault.
    """
    units = units_of(groups, None if section.split == "random" else strata)
    if given is not None:
        splits = _given(units, given, section)
    elif order is not None:
        splits = _by_time(units, order, section, place)
    else:
        splits = _random(units, section, classes)
    empty = [split for index, split in enumerate(SPLITS) if not (splits.assignment == index).any()]
    if empty:
        raise DataError(*(f"prepare: split {section.split} leaves no row for {split}; {_way_out(section)}" for split in empty))
    return splits


def _random(units: Units, section: PrepareConfig, classes: Sequence[str]) -> Splits:
    """Cut units in random order, each stratum in its shares."""
    if len(units.sizes) < len(SPLITS):
        raise DataError(f"prepare: {_few(units, section)}; {_way_out(section)}")
    rare = [index for index in range(len(classes)) if 0 < units.occurs[index : index + 1].sum() < len(SPLITS)]
    if rare and section.split != "random":
        kind = "group(s) of rows" if section.split == "grouped" else "distinct row(s)"
        raise DataError(
            *(
                f"prepare: class {classes[index]!r} is in {units.occurs[index]} {kind}; each of the three splits needs one; "
                "add rows, leave the class out, or set prepare.split=random"
                for index in rare[:_NAMED]
            ),
            *([f"prepare: and {len(rare) - _NAMED:,} more classes like that"] if len(rare) > _NAMED else []),
        )
    shares = {"test": section.test_fraction, "validation": section.validation_fraction}
    chosen = cut(units.sizes, units.strata, **shares, rng=np.random.default_rng(section.split_seed))
    assignment = chosen[units.of_row]
    return Splits(assignment, tuple(_far_off(assignment, units, section)))


def _by_time(units: Units, order: NDArray[np.float64], section: PrepareConfig, place: Callable[[int], str]) -> Splits:
    """Cut rows at two times; a group is where its latest row is, so that no group is in train and in a later split."""
    timeless = np.flatnonzero(~np.isfinite(order))
    if timeless.size:
        raise DataError(
            f"prepare: {timeless.size:,} row(s) have no time in column {section.split_column!r}, the first is "
            f"{place(int(timeless[0]))}; remove them, or set another prepare.split"
        )
    ticks, of_row = np.unique(order, return_inverse=True)
    if len(ticks) < len(SPLITS):
        raise DataError(
            f"prepare: column {section.split_column!r} has {len(ticks)} distinct time(s), and three splits need three; "
            "name another prepare.split_column, or set another prepare.split"
        )
    splits = cut_in_order(np.bincount(of_row), test=section.test_fraction, validation=section.validation_fraction)
    natural = splits[of_row]
    assignment = _latest(units, natural)[units.of_row]
    starts = float(ticks[np.flatnonzero(splits > 0)[0]])
    findings = _far_off(assignment, units, section)
    moved = np.flatnonzero(assignment != natural)
    if moved.size:
        findings.append(
            Finding(
                check="duplicates",
                verdict="WARN",
                text=f"{moved.size:,} row(s) have a later duplicate, or are of a group that goes on later, and are in its "
                f"split: rows {some(moved.tolist())}",
                rows=tuple(moved[:_NAMED].tolist()),
            )
        )
    return Splits(assignment, tuple(findings), starts)


def _latest(units: Units, splits: Assignment) -> Assignment:
    """Return the highest split of each unit's rows, (units,): test goes before validation, and that before train."""
    latest = np.full(len(units.sizes), LEFT_OUT)
    np.maximum.at(latest, units.of_row, splits)
    return latest


def _given(units: Units, given: Assignment, section: PrepareConfig) -> Splits:
    """Keep the splits that the data names; one that it does not name is cut from its train rows."""
    latest = _latest(units, given)[units.of_row]
    twice = np.flatnonzero((given != LEFT_OUT) & (given != latest))
    assignment = given.copy()
    assignment[twice] = LEFT_OUT
    findings = []
    if twice.size:
        counts = {split: int((given[twice] == index).sum()) for index, split in enumerate(SPLITS)}
        shown = " and ".join(f"{count:,} of {split}" for split, count in counts.items() if count)
        findings.append(
            Finding(
                check="duplicates",
                verdict="WARN",
                text=f"{shown} are also, or nearly, in a later split, and are left out: rows {some(twice.tolist())}",
                advice="remove them, or set prepare.duplicates=anywhere to keep them where they are",
                rows=tuple(twice[:_NAMED].tolist()),
            )
        )
    named = np.bincount(given[given != LEFT_OUT], minlength=len(SPLITS)) > 0
    test = 0.0 if named[_TEST] else section.test_fraction
    validation = 0.0 if named[_VALIDATION] else section.validation_fraction
    train = np.flatnonzero(assignment == _TRAIN)
    if (test or validation) and train.size:
        part = units_of(units.of_row[train], units.strata[units.of_row[train]])
        chosen = cut(part.sizes, part.strata, test=test, validation=validation, rng=np.random.default_rng(section.split_seed))
        assignment[train] = chosen[part.of_row]
    return Splits(assignment, tuple(findings))


def _far_off(assignment: Assignment, units: Units, section: PrepareConfig) -> list[Finding]:
    """Return what to say of splits that groups keep far from their share."""
    shares = np.bincount(assignment, minlength=len(SPLITS)) / len(assignment)
    wanted = {"validation": section.validation_fraction, "test": section.test_fraction}
    largest = int(units.sizes.max())
    return [
        Finding(
            check="shares",
            verdict="WARN",
            text=f"{split} has {shares[SPLITS.index(split)]:.1%} of the rows instead of {share:.1%}; rows of one "
            f"group stay together, and the largest of {len(units.sizes):,} groups has {largest:,} of {len(assignment):,} rows",
            advice="split by a finer group, or change the fractions",
        )
        for split, share in wanted.items()
        if largest > 1 and len(assignment) >= _FEWEST and abs(shares[SPLITS.index(split)] - share) > _FAR * share
    ]


def _few(units: Units, section: PrepareConfig) -> str:
    rows = len(units.of_row)
    if rows < len(SPLITS):
        return f"the source has {rows} row(s), and each of the three splits needs one"
    kind = f"groups of column {section.split_column!r}" if section.split == "grouped" else "distinct rows"
    return f"{rows:,} rows are {len(units.sizes)} {kind}, and each of the three splits needs one"


def _way_out(section: PrepareConfig) -> str:
    match section.split:
        case "grouped":
            return "name a finer prepare.split_column, or set another prepare.split"
        case "column":
            return f"name rows of each split in column {section.split_column!r}, or set another prepare.split"
        case "time":
            return "name another prepare.split_column, or set another prepare.split"
        case _:
            return "add rows"
