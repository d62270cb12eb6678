"""A column that alone says what the target is: it usually was written down after the target was known."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.checks.labels import Answer, answers
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from serving.schema import Feature

_ENOUGH = 0.995  # balanced accuracy
_ENOUGH_R2 = 0.999
_FEWEST, _FEWEST_CHECKED, _RAREST = 50, 10, 5  # rows of train, of validation, and of a class in train
_RAREST = 5
_MOST_VALUES = 2_000_000  # that trees are fitted on, over all columns; each column gets its part of them
_MOST_ROWS, _FEWEST_ROWS = 20_000, 1_000  # of train for one column
_LEAVES = 256  # of a tree that follows a number: steps of 1/256 explain more than _ENOUGH_R2
_SEED = 0  # of the sample

Values = NDArray[np.float32]


@dataclass(frozen=True)
class _Part:
    """Rows of one split that have an answer; inputs: (rows, values); targets: (rows,)."""

    inputs: Values
    targets: NDArray[Any]


def leak(subject: Subject) -> list[Finding]:
    """Return a FAIL for each column that alone predicts the target, on train and on validation rows.

    A number predicts through a decision tree of one column, a category through its most frequent class or its mean, and a
    column with gaps through whether it is missing.
    """
    features = subject.schema.features
    found: list[Finding] = []
    looked = 0
    for answer in answers(subject):
        parts = _parts(subject, answer)
        if parts is None:
            continue
        looked += 1
        for feature, start in zip(features, subject.schema.starts, strict=True):
            scores = list(_scores(feature, start, *parts, answer.classes))
            what, score = max(reversed(scores), key=lambda scored: scored[1])  # gaps, where they are as good as the values
            if score >= (_ENOUGH if answer.classes else _ENOUGH_R2):
                found.append(_finding(feature, answer, what, score))
    if found:
        return found
    seen = f"none of {len(features)} columns alone predicts {subject.schema.target!r}"
    reason = seen if looked else f"too few rows, or columns, to tell whether one alone predicts {subject.schema.target!r}"
    return [Finding(check="leak", verdict="PASS", text=reason)]


def _finding(feature: Feature, answer: Answer, what: str, score: float) -> Finding:
    measure = "balanced accuracy" if answer.classes else "R2"
    return Finding(
        check="leak",
        verdict="FAIL",
        text=f"{what} alone predicts {answer.name!r}: {measure} {score:.4g} on train and validation rows",
        advice=f"if it is not known when a prediction is asked for, set data.columns.{feature.name}=ignore; "
        "if it is, set prepare.allow=[leak]",
        column=feature.name,
    )


def _parts(subject: Subject, answer: Answer) -> tuple[_Part, _Part] | None:
    """Return a sample of the train rows, and the validation rows; None where there are too few, or there is one column only."""
    train, validation = answer.values["train"], answer.values["validation"]
    columns = len(subject.schema.features)
    if columns < 2 or len(train) < _FEWEST or len(validation) < _FEWEST_CHECKED:
        return None
    if answer.classes and np.unique(train, return_counts=True)[1].min() < _RAREST:
        return None
    outputs = subject.schema.outputs if subject.schema.task != "classification" else 1
    most = int(np.clip(_MOST_VALUES / (columns * outputs), _FEWEST_ROWS, _MOST_ROWS))
    rng = np.random.default_rng(_SEED)
    rows = rng.permutation(len(train))[:most]
    checked = rng.permutation(len(validation))[:most]
    inputs = subject.inputs
    return _Part(inputs["train"][rows], train[rows]), _Part(inputs["validation"][checked], validation[checked])


def _scores(feature: Feature, start: int, train: _Part, validation: _Part, classes: int) -> Iterator[tuple[str, float]]:
    """Yield what about a column was tried, and the lower of its scores on train and validation."""
    for at in range(start, start + feature.width):
        fitted, checked = train.inputs[:, at], validation.inputs[:, at]
        predict = _by_category if feature.kind in {"category", "boolean"} else _by_tree
        guesses = predict(fitted, train.targets, (fitted, checked), classes)
        yield f"column {feature.name!r}", _lower(guesses, train, validation, classes)
    gaps = np.isnan(fitted), np.isnan(checked)
    if gaps[0].any():
        guesses = _by_category(gaps[0], train.targets, gaps, classes)
        yield f"whether column {feature.name!r} is missing", _lower(guesses, train, validation, classes)


def _lower(guesses: list[NDArray[Any]], train: _Part, validation: _Part, classes: int) -> float:
    score = _balanced_accuracy if classes else _r2
    return min(score(guesses[0], train.targets), score(guesses[1], validation.targets))


def _balanced_accuracy(guesses: NDArray[Any], targets: NDArray[Any]) -> float:
    rows = np.bincount(targets)
    hits = np.bincount(targets[guesses == targets], minlength=len(rows))
    return float((hits[rows > 0] / rows[rows > 0]).mean()) if (rows > 0).sum() > 1 else 0.0


def _r2(guesses: NDArray[Any], targets: NDArray[Any]) -> float:
    wide = targets.astype(np.float64)
    variance = float(wide.var())
    return 1 - float(((guesses - wide) ** 2).mean()) / variance if variance > 0 else 0.0


def _by_tree(fitted: Values, targets: NDArray[Any], columns: tuple[Values, ...], classes: int) -> list[NDArray[Any]]:
    """Return the predictions for each of `columns`, (rows,), of a decision tree of one column."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if classes:
        tree = DecisionTreeClassifier(max_leaf_nodes=2 * classes, random_state=_SEED)
    else:
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, random_state=_SEED)
    tree.fit(fitted[:, np.newaxis], targets)
    return [tree.predict(column[:, np.newaxis]) for column in columns]


def _by_category(
    fitted: NDArray[Any], targets: NDArray[Any], columns: tuple[NDArray[Any], ...], classes: int
) -> list[NDArray[Any]]:
    """Return, for each of `columns`, the class that is most frequent in its category; or the mean."""
    codes, of_row = np.unique(fitted, return_inverse=True)  # NaN is one of them, and sorts last
    answer: NDArray[Any]
    if classes:
        pairs, rows = np.unique(of_row * classes + targets, return_counts=True)
        by_rows = pairs[np.argsort(rows, kind="stable")]
        answer = np.zeros(len(codes), dtype=np.int64)
        answer[by_rows // classes] = by_rows % classes  # the last one stays: the most frequent
        other: Any = -1  # no class: a category that train lacks predicts nothing
    else:
        answer = np.bincount(of_row, weights=targets.astype(np.float64)) / np.bincount(of_row)
        other = float(targets.mean())
    at = [np.minimum(np.searchsorted(codes, column), len(codes) - 1) for column in columns]
    known = [
        (codes[place] == column) | (np.isnan(codes[place]) & np.isnan(column))
        for place, column in zip(at, columns, strict=True)
    ]
    return [np.where(is_known, answer[place], other) for place, is_known in zip(at, known, strict=True)]
