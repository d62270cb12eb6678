"""Dates that were not known when a prediction would have been asked for."""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Split
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from serving.schema import Feature

_EPOCH = date(1970, 1, 1)
_NAMED_BY_DATA = frozenset({"auto", "column", "files"})  # splits that may be meant to follow in time, without saying so
_MOST_LATER = 0.5  # share of train rows
_SECONDS = 86_400


def future_dates(subject: Subject, *, boundary_day: float | None = None, today: date) -> list[Finding]:
    """Return a WARN for each date column that tells train rows of the time after, or any row of the time to come.

    boundary_day: of a split by time, when validation begins, in days since 1970-01-01. Where the data names the splits, it is
    the earliest date of validation and test, if most train rows are before it: else the splits do not follow in time.
    """
    schema, findings = subject.schema, []
    columns = [
        (feature, start) for feature, start in zip(schema.features, schema.starts, strict=True) if feature.kind == "date"
    ]
    for feature, start in columns:
        findings += [
            found
            for found in (_after_boundary(subject, feature, start, boundary_day), _after_today(subject, feature, start, today))
            if found is not None
        ]
    passed = f"no date of {len(columns)} columns lies in the future of its split, or of today"
    return findings or [Finding(check="future_dates", verdict="PASS", text=passed)]


def _after_boundary(subject: Subject, feature: Feature, start: int, boundary_day: float | None) -> Finding | None:
    split = subject.section.split
    train = _moments(subject, start, "train")
    if split == "time" and boundary_day is not None:
        boundary, most = boundary_day, 1.0
    elif split in _NAMED_BY_DATA:
        others = np.concatenate([_moments(subject, start, "validation"), _moments(subject, start, "test")])
        others = others[np.isfinite(others)]
        if not others.size:
            return None
        boundary, most = float(others.min()), _MOST_LATER
    else:
        return None
    later = np.flatnonzero(train > boundary)
    if not later.size or later.size > most * len(train):
        return None
    rows = subject.rows["train"][later]
    where = f"{subject.place(int(rows[0]))} with {_day(train[later[0]])}"
    return Finding(
        check="future_dates",
        verdict="WARN",
        text=f"column {feature.name!r} lies after {_day(boundary)}, when validation begins, in {later.size:,} of "
        f"{len(train):,} train rows, such as {where}: it was not known then",
        advice=f"set data.columns.{feature.name}=ignore, or split by this column (prepare.split=time, "
        f"prepare.split_column={feature.name})",
        column=feature.name,
        rows=tuple(int(row) for row in rows[:5]),
    )


def _after_today(subject: Subject, feature: Feature, start: int, today: date) -> Finding | None:
    limit = (today - _EPOCH).days + 2  # the whole of tomorrow is today somewhere
    days = np.concatenate([_moments(subject, start, split) for split in SPLITS])
    rows = np.concatenate([subject.rows[split] for split in SPLITS])
    later = np.flatnonzero(days >= limit)
    if not later.size:
        return None
    return Finding(
        check="future_dates",
        verdict="WARN",
        text=f"column {feature.name!r} lies in the future in {later.size:,} of {len(days):,} rows, such as "
        f"{subject.place(int(rows[later[0]]))} with {_day(days[later[0]])}",
        advice=f"correct them (is it a placeholder, or another date format?), or set data.columns.{feature.name}=ignore",
        column=feature.name,
        rows=tuple(int(row) for row in rows[later[:5]]),
    )


def _moments(subject: Subject, start: int, split: Split) -> NDArray[np.float64]:
    """Return days since 1970-01-01 with their fraction, (rows,), NaN where missing."""
    inputs = subject.inputs[split].astype(np.float64)
    moments: NDArray[np.float64] = inputs[:, start] + inputs[:, start + 1] / _SECONDS
    return moments


def _day(moment: float) -> str:
    """Return a day as ISO 8601 writes it; the number of the day where no calendar has it."""
    try:
        return (_EPOCH + timedelta(days=float(moment))).isoformat()
    except OverflowError:
        return f"day {moment:,.0f} since 1970"
