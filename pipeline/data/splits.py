"""Splits that share no row: rows with identical inputs always land in the same split, and classes keep their shares."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from pipeline.artifacts import Split
from pipeline.errors import DataError

_QUANTILES = 5  # groups of a regression target that each split gets its share of


def split_rows(
    inputs: NDArray[np.float32],
    targets: NDArray[Any],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    classification: bool,
) -> dict[Split, NDArray[np.int64]]:
    """Return the row numbers of each split, sorted.

    inputs: (rows, *shape); targets: (rows,). Stratified by class, or by quantile of a regression target. Fractions are of the
    distinct rows. Raises DataError when a class is too rare to be in every split.
    """
    _, first, group = np.unique(inputs.reshape(len(inputs), -1), axis=0, return_index=True, return_inverse=True)
    strata = targets[first] if classification else _quantile_of(targets[first])
    _check_strata(strata, classification)
    groups = np.arange(len(first))
    counts = {"test": round(test_fraction * len(groups)), "validation": round(validation_fraction * len(groups))}
    try:
        rest, test = train_test_split(groups, test_size=counts["test"], random_state=seed, stratify=strata)
        train, validation = train_test_split(rest, test_size=counts["validation"], random_state=seed, stratify=strata[rest])
    except ValueError as error:
        raise DataError(
            f"prepare: {len(groups)} distinct rows cannot be split into test {counts['test']} and validation "
            f"{counts['validation']} with every class in each ({error}); change the fractions or add rows"
        ) from error
    chosen: dict[Split, NDArray[Any]] = {"train": train, "validation": validation, "test": test}
    return {name: np.flatnonzero(np.isin(group.reshape(-1), members)) for name, members in chosen.items()}


def _quantile_of(values: NDArray[Any]) -> NDArray[np.int64]:
    if len(values) < _QUANTILES * 10:  # too few for a share of each
        return np.zeros(len(values), dtype=np.int64)
    edges = np.quantile(values, np.linspace(0, 1, _QUANTILES + 1)[1:-1])
    groups: NDArray[np.int64] = np.digitize(values, edges)
    return groups


def _check_strata(strata: NDArray[Any], classification: bool) -> None:
    values, counts = np.unique(strata, return_counts=True)
    if classification and counts.min() < 3:
        rare = values[counts.argmin()]
        raise DataError(
            f"prepare: class {rare} has {counts.min()} distinct row(s); each of the three splits needs one, so at least 3"
        )
