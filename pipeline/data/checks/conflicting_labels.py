"""Rows with the same inputs and different targets: no model can be right about all of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding

_FAR = 0.5  # of the target's deviation: identical rows that differ by more are told of
_FEWEST = 10  # rows with a duplicate, to judge numbers by
_EXAMPLES = 2  # groups of rows that a line shows


def conflicting_labels(subject: Subject) -> list[Finding]:
    """Return a WARN where rows of one group have different classes or labels, or numbers that lie far apart."""
    groups = np.concatenate([subject.groups[split] for split in SPLITS])
    targets = np.concatenate([subject.targets[split] for split in SPLITS])
    rows = np.concatenate([subject.rows[split] for split in SPLITS])
    _, of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    several = np.flatnonzero(sizes[of_row] > 1)
    several = several[np.argsort(of_row[several], kind="stable")]  # group by group
    if subject.schema.task == "regression":
        found = _of_numbers(subject, of_row[several], targets[several], targets)
    else:
        found = _of_classes(subject, of_row[several], targets[several], rows[several], len(groups))
    passed = f"rows with the same inputs agree about {subject.schema.target!r} ({len(several):,} rows have a duplicate)"
    return [found or Finding(check="conflicting_labels", verdict="PASS", text=passed, column=subject.schema.target)]


def _of_classes(
    subject: Subject, groups: NDArray[np.int64], targets: NDArray[Any], rows: NDArray[np.int64], total: int
) -> Finding | None:
    """Look for groups with several classes; all arguments hold the rows that have a duplicate, group by group."""
    if not len(groups):
        return None
    _, labels = np.unique(targets, axis=0, return_inverse=True)
    labels = labels.reshape(-1)
    pairs, times = np.unique(groups * (int(labels.max()) + 1) + labels, return_counts=True)
    of_pair = pairs // (int(labels.max()) + 1)
    starts = np.flatnonzero(np.diff(of_pair, prepend=-1))
    torn = of_pair[starts][np.diff(starts, append=len(pairs)) > 1]  # groups with several labels
    if not torn.size:
        return None
    conflicting = np.isin(groups, torn)
    wrong = len(groups) - int(np.maximum.reduceat(times, starts).sum())  # where each group answers its most frequent label
    examples = "; ".join(_example(subject, groups == group, labels, targets, rows) for group in torn[:_EXAMPLES])
    measure = "accuracy" if subject.schema.task == "classification" else "exact_match"
    return Finding(
        check="conflicting_labels",
        verdict="WARN",
        text=f"{conflicting.sum():,} of {total:,} rows ({conflicting.sum() / total:.1%}) have the same inputs as another row "
        f"and another {subject.schema.target!r}: {examples}",
        advice=f"correct or remove them, or add the column that tells them apart; {measure} on these rows cannot exceed "
        f"{1 - wrong / total:.1%}",
        column=subject.schema.target,
        rows=tuple(int(row) for row in rows[conflicting][:5]),
    )


def _example(
    subject: Subject, members: NDArray[np.bool_], labels: NDArray[np.int64], targets: NDArray[Any], rows: NDArray[np.int64]
) -> str:
    """Return one row of each of the first labels of a group."""
    at = np.flatnonzero(members)
    _, first = np.unique(labels[at], return_index=True)
    return ", ".join(f"{subject.place(int(rows[row]))} is {_name(subject, targets[row])}" for row in at[np.sort(first)][:3])


def _name(subject: Subject, target: Any) -> str:
    classes = subject.schema.classes
    if subject.schema.task == "classification":
        return repr(classes[int(target)])
    has = [repr(name) for name, value in zip(classes, target, strict=True) if value > 0.5]
    return " and ".join(has) or "without a label"


def _of_numbers(subject: Subject, groups: NDArray[np.int64], targets: NDArray[Any], everything: NDArray[Any]) -> Finding | None:
    """Compare the deviation within groups with that of all rows, for each output."""
    if len(groups) < _FEWEST:
        return None
    _, of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    names = subject.schema.targets or (subject.schema.target,)
    columns = targets.reshape(len(targets), -1).astype(np.float64).T
    worst = None
    for name, column, whole in zip(names, columns, everything.reshape(len(everything), -1).T, strict=True):
        from_mean = column - (np.bincount(of_row, weights=column) / sizes)[of_row]
        within = float(np.sqrt((from_mean**2).sum() / (len(column) - len(sizes))))
        spread = float(whole.astype(np.float64).std())
        if within > _FAR * spread and (worst is None or within / spread > worst[1] / worst[2]):
            worst = name, within, spread
    if worst is None:
        return None
    name, within, spread = worst
    return Finding(
        check="conflicting_labels",
        verdict="WARN",
        text=f"{len(groups):,} rows have the same inputs as another row, and their {name!r} differ by {within:.4g} "
        f"(standard deviation), where all rows differ by {spread:.4g}",
        advice="add the columns that tell them apart; an error below the first number is out of reach for such rows",
        column=name,
    )
