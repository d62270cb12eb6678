"""Splits whose rows are of another kind than the train rows: what is measured on them is then another question."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Split
from pipeline.data.checks.labels import answers
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding

_FAR = 0.1  # of Kolmogorov and Smirnov's distance, and of total variation: shares of rows
_LEVEL = 1e-3  # of chance, for all comparisons together (Bonferroni)
_FEWEST_EXPECTED = 5  # rows of a category in each cell of a chi-squared test (Cochran 1954)
_NAMED = 5
_OTHERS: tuple[Split, Split] = ("validation", "test")


@dataclass(frozen=True)
class _Column:
    name: str
    values: dict[Split, NDArray[Any]]  # (rows,), NaN where missing
    counted: bool  # whether values are codes


@dataclass(frozen=True)
class _Shift:
    column: str
    size: float  # share of rows
    chance: float
    text: str


def shift(subject: Subject) -> list[Finding]:
    """Return a WARN for validation, and for test, with the columns, and the target, that differ most from train.

    Numbers by their two-sample Kolmogorov-Smirnov distance, categories and missing values by total variation; a difference has
    to be large and no chance. Of images, the mean brightness. Where rows are split by time, dates differ and are not looked at.
    """
    columns = list(_columns(subject))
    findings = [found for split in _OTHERS if (found := _compared(subject, split, columns))]
    passed = f"validation and test rows are like train rows in {len(columns)} columns, the target included"
    return findings or [Finding(check="shift", verdict="PASS", text=passed)]


def _columns(subject: Subject) -> Iterator[_Column]:
    schema = subject.schema
    if schema.kind == "image":
        brightness = {split: of.reshape(len(of), -1).mean(axis=1, dtype=np.float64) for split, of in subject.inputs.items()}
        yield _Column("mean brightness", brightness, counted=False)
    for feature, start in zip(schema.features, schema.starts, strict=True):
        if feature.kind != "date" or subject.section.split != "time":
            values: dict[Split, NDArray[Any]] = {split: of[:, start] for split, of in subject.inputs.items()}
            yield _Column(f"column {feature.name!r}", values, counted=feature.kind in {"category", "boolean"})
    for answer in answers(subject):
        yield _Column(f"target {answer.name!r}", answer.values, counted=answer.classes > 0)


def _compared(subject: Subject, split: Split, columns: list[_Column]) -> Finding | None:
    level = _LEVEL / (len(columns) * len(_OTHERS) * 2)
    shifts = [found for column in columns for found in _shifts(column, split) if found.size > _FAR and found.chance < level]
    if not shifts:
        return None
    shifts.sort(key=lambda found: -found.size)
    shown = "; ".join(found.text for found in shifts[:_NAMED]) + (
        f"; and {len(shifts) - _NAMED} more" if shifts[_NAMED:] else ""
    )
    by = {
        "time": "the data changes with time: expect the same of the rows to come",
        "grouped": "groups differ: there may be too few of them in each split",
        "column": "look at how the splits were chosen",
        "files": "look at how the files were made",
    }
    return Finding(
        check="shift",
        verdict="WARN",
        text=f"{split} rows are not like train rows: {shown}",
        advice=by.get(subject.section.split, "look at how the rows were collected")
        + "; data.columns.<name>=ignore leaves one out",
        column=shifts[0].column,
    )


def _shifts(column: _Column, split: Split) -> Iterator[_Shift]:
    train, other = column.values["train"], column.values[split]
    if not len(train) or not len(other):
        return
    if column.counted:
        yield _of_codes(column.name, train, other, split)
        return
    gaps = np.isnan(train), np.isnan(other)
    if gaps[0].any() or gaps[1].any():
        moved, chance = _variation(gaps[0].astype(np.int64), gaps[1].astype(np.int64))
        text = f"{column.name} is missing in {gaps[1].mean():.1%} of {split} rows and in {gaps[0].mean():.1%} of train rows"
        yield _Shift(column.name, moved, chance, text)
    yield from _of_numbers(column.name, train[~gaps[0]], other[~gaps[1]])


def _of_codes(name: str, train: NDArray[Any], other: NDArray[Any], split: Split) -> _Shift:
    _, codes = np.unique(np.concatenate((train, other)), return_inverse=True)
    moved, chance = _variation(codes[: len(train)], codes[len(train) :])
    return _Shift(name, moved, chance, f"{name} has other values in {moved:.1%} of {split} rows")


def _of_numbers(name: str, train: NDArray[Any], other: NDArray[Any]) -> Iterator[_Shift]:
    from scipy.stats import ks_2samp

    if not len(train) or not len(other):
        return
    tested = ks_2samp(train, other, method="asymp")
    middle = f"median {np.median(other):.4g} instead of {np.median(train):.4g}"
    text = f"{name} is distributed otherwise (KS distance {tested.statistic:.2f}, {middle})"
    yield _Shift(name, float(tested.statistic), float(tested.pvalue), text)


def _variation(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[float, float]:
    """Return the total variation distance of two samples of codes, and the chance that one distribution gave both."""
    from scipy.stats import chi2_contingency

    size = int(max(one.max(), other.max())) + 1
    counts = np.array([np.bincount(one, minlength=size), np.bincount(other, minlength=size)])
    smaller = min(len(one), len(other)) / (len(one) + len(other))
    rare = counts.sum(axis=0) * smaller < _FEWEST_EXPECTED
    cells = np.column_stack((counts[:, ~rare], counts[:, rare].sum(axis=1)))
    cells = cells[:, cells.sum(axis=0) > 0]
    if cells.shape[1] < 2:
        return 0.0, 1.0
    shares = cells / cells.sum(axis=1, keepdims=True)
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(chi2_contingency(cells, correction=False).pvalue)
