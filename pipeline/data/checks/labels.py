"""What the targets of split rows are: how often each class occurs, and one answer after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Split
from pipeline.data.checks.subject import Subject

Counts = dict[Split, NDArray[np.int64]]  # (classes,) rows of each class, or that have each label


@dataclass(frozen=True)
class Answer:
    """One thing to predict. values: split -> (rows,) classes from 0, or numbers. classes: how many, 0 for numbers."""

    name: str
    values: dict[Split, NDArray[Any]]
    classes: int


def counts_of(subject: Subject) -> Counts:
    """Return the rows of each class; of a sample, scaled to the whole split. Empty arrays for a regression."""
    return {split: _count(subject, split) for split in SPLITS}


def _count(subject: Subject, split: Split) -> NDArray[np.int64]:
    targets, classes = subject.targets[split], len(subject.schema.classes)
    match subject.schema.task:
        case "classification":
            counts = np.bincount(targets.astype(np.int64), minlength=classes)
        case "multilabel":
            counts = (targets > 0.5).sum(axis=0)
        case "regression":
            return np.zeros(0, dtype=np.int64)
    scale = subject.counts[split] / max(len(targets), 1)
    return np.asarray(np.rint(counts * scale), dtype=np.int64)


def answers(subject: Subject) -> Iterator[Answer]:
    """Yield the target, or each label of several, or each output."""
    schema = subject.schema
    if schema.task == "classification":
        yield Answer(schema.target, subject.targets, len(schema.classes))
    elif schema.task == "multilabel":
        for index, label in enumerate(schema.classes):
            yield Answer(label, {split: (of[:, index] > 0.5).astype(np.int64) for split, of in subject.targets.items()}, 2)
    else:
        for index, name in enumerate(schema.targets or (schema.target,)):
            yield Answer(name, {split: of.reshape(len(of), -1)[:, index] for split, of in subject.targets.items()}, 0)
