"""Classes of very unlike size, where a model that never names the small one looks good."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.checks.labels import Counts
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding

_TIMES = 3  # the largest class over the smallest, from which it is worth a line
_LABEL_SHARE = 0.1  # of the rows that have a label, or lack it: few labels of several are on half of the rows
_ADVICE = (
    "set train.loss.class_weights=balanced or train.sampling=balanced, and look at f1 or auroc rather than accuracy, "
    "also as train.early_stopping.monitor"
)
_NAMED = 5


def imbalance(subject: Subject, counts: Counts) -> list[Finding]:
    """Return a WARN when the largest class of the train rows has 3 times as many as the smallest; for labels, one for all."""
    schema = subject.schema
    if schema.task == "regression":
        return [
            Finding(check="imbalance", verdict="PASS", text=f"target {schema.target!r} has no classes that could be unlike")
        ]
    train = counts["train"]
    if schema.task == "multilabel":
        return [_of_labels(subject, train)]
    rows = max(int(train.sum()), 1)
    largest = int(train.argmax())
    others = [index for index, count in enumerate(train) if count and index != largest]
    smallest = min(others, key=lambda index: train[index], default=largest)
    shares = f"{schema.classes[largest]!r} has {train[largest] / rows:.1%} of the train rows, {schema.classes[smallest]!r} "
    shares += f"{train[smallest] / rows:.1%}"
    if train[largest] < _TIMES * train[smallest]:
        return [Finding(check="imbalance", verdict="PASS", text=f"class {shares}", column=schema.target)]
    return [Finding(check="imbalance", verdict="WARN", text=f"class {shares}", advice=_ADVICE, column=schema.target)]


def _of_labels(subject: Subject, train: NDArray[np.int64]) -> Finding:
    schema = subject.schema
    shares = train / max(subject.counts["train"], 1)
    rarer = np.minimum(shares, 1 - shares)  # of rows with and rows without
    unlike = np.flatnonzero(rarer < _LABEL_SHARE)
    if not unlike.size:
        text = (
            f"each of {len(schema.classes)} labels is on {rarer.min():.1%} of the train rows or more, and is missing on as many"
        )
        return Finding(check="imbalance", verdict="PASS", text=text, column=schema.target)
    worst = unlike[np.argsort(rarer[unlike], kind="stable")][:_NAMED]
    shown = ", ".join(f"{schema.classes[label]!r} on {shares[label]:.1%}" for label in worst)
    more = f" and {len(unlike) - _NAMED:,} more" if len(unlike) > _NAMED else ""
    text = f"{len(unlike)} label(s) are on few of the train rows, or on nearly all: {shown}{more}"
    return Finding(check="imbalance", verdict="WARN", text=text, advice=_ADVICE, column=schema.target)
