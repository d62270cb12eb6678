"""Cross-validation on the rows that are not test, with the same promises as the splits themselves."""

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.splitting.splits import LEFT_OUT, Assignment, Groups
from pipeline.data.splitting.units import cut, deal, units_of
from pipeline.errors import DataError

_TEST = SPLITS.index("test")


def fold_rows(
    groups: Groups,
    strata: NDArray[np.int64] | None,
    *,
    splits: Assignment,
    folds: int,
    fold: int,
    section: PrepareConfig,
) -> Assignment:
    """Return the splits of one training of a cross-validation, (rows,): the rows of fold number `fold`, from 0, are "test".

    splits: (rows,) the splits outside of it; their test rows, and rows in none, stay out (-1). Every other row is scored in
    exactly one fold; of the others, prepare.validation_fraction is for validation. Raises DataError where there are too few
    groups.
    """
    members = np.flatnonzero((splits >= 0) & (splits != _TEST))
    units = units_of(groups[members], None if strata is None or section.split == "random" else strata[members])
    if len(units.sizes) < max(folds, 3):
        raise DataError(
            f"train.folds: {folds} folds need at least {max(folds, 3)} groups of rows that are not test, "
            f"and there are {len(units.sizes)}; set fewer folds"
        )
    rng = np.random.default_rng((section.split_seed, folds))
    is_scored = deal(units.sizes, units.strata, folds=folds, rng=rng) == fold
    rest = ~is_scored
    if rest.sum() < 2:
        raise DataError(
            f"train.folds: fold {fold + 1} of {folds} leaves one group of rows for train and validation together; set more "
            "folds, or split by a finer group"
        )
    chosen = np.full(len(units.sizes), _TEST, dtype=np.int8)
    rng = np.random.default_rng((section.split_seed, folds, fold))
    chosen[rest] = cut(units.sizes[rest], units.strata[rest], test=0, validation=section.validation_fraction, rng=rng)
    assignment = np.full(len(groups), LEFT_OUT)
    assignment[members] = chosen[units.of_row]
    return assignment
