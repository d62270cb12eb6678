"""One way to score answers, whoever gave them: the PyTorch model in `evaluate`, an artifact in `export`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.metrics.intervals import Interval, bootstrap, wilson
from pipeline.metrics.tasks import (
    auroc,
    classification_metrics,
    confusion,
    label_confusion,
    label_metrics,
    regression_metrics,
    rmse_of_each,
)
from serving.schema import Array, Schema

_MOST_ROWS_SORTED = 20_000
_DECISIONS = {"precision", "recall", "f1", "f1_micro", "tpr", "fpr", "hamming"}
_MOST_DRAWN, _FEWEST_RESAMPLES = 200_000_000, 100  # rows over all resamples: intervals of a million rows are narrow anyway


def score(
    answers: Array, targets: NDArray[Any], schema: Schema, *, confidence: float, resamples: int, seed: int
) -> dict[str, Interval]:
    """Return every metric of the task with its interval.

    answers: (rows, outputs) probabilities or values in the target's unit; targets: (rows,), or (rows, outputs) for labels and
    for several values, where the numbers are means over outputs and each has its `rmse.<name>`. Accuracy and exact_match have
    Wilson intervals, the others bootstrap ones, of fewer resamples above 200,000 rows. Where no row is wrong, metrics of
    decisions have the bound of that share, since resamples of such rows hold no error either. AUROC, which sorts rows for each
    class and resample, is left out above 20,000 rows.
    """
    given, true = torch.from_numpy(answers), torch.from_numpy(targets)

    def measure(rows: NDArray[np.int64]) -> dict[str, float]:
        index = torch.from_numpy(rows)
        return _metrics(given[index], true[index], schema)

    resamples = min(resamples, max(_FEWEST_RESAMPLES, _MOST_DRAWN // max(1, len(targets))))
    intervals = bootstrap(measure, len(targets), confidence=confidence, resamples=resamples, seed=seed)
    if schema.task == "classification":
        right = int((answers.argmax(1) == targets).sum())
        intervals |= _decided(intervals, "accuracy", wilson(right, len(targets), confidence=confidence))
    if schema.task == "multilabel":
        whole = round(intervals["exact_match"].value * len(targets))
        intervals |= _decided(intervals, "exact_match", wilson(whole, len(targets), confidence=confidence))
    return intervals


def confusion_matrix(answers: Array, targets: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return (true class, predicted class) counts."""
    matrix: NDArray[np.int64] = confusion(torch.from_numpy(answers).argmax(1), torch.from_numpy(targets), classes).numpy()
    return matrix


def label_matrices(answers: Array, targets: NDArray[Any]) -> NDArray[np.int64]:
    """Return (labels, true, predicted) counts; both inputs (rows, labels)."""
    matrices: NDArray[np.int64] = label_confusion(torch.from_numpy(answers), torch.from_numpy(targets)).numpy()
    return matrices


def per_class(matrix: NDArray[np.int64], classes: tuple[str, ...], *, confidence: float) -> list[dict[str, Any]]:
    """Return precision, recall (Wilson intervals), F1 and support of each class or label; None where it was never predicted.

    matrix: (classes, classes) counts of true and predicted classes, or (labels, 2, 2) as `label_matrices` gives them.
    """
    if matrix.ndim == 3:
        counts = zip(matrix[:, 1, 1], matrix[:, 1].sum(axis=1), matrix[:, :, 1].sum(axis=1), strict=True)
    else:
        counts = zip(matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0), strict=True)
    table = []
    for label, numbers in zip(classes, counts, strict=True):
        hits, support, predicted = (int(number) for number in numbers)
        recall = wilson(hits, support, confidence=confidence) if support else None
        precision = wilson(hits, predicted, confidence=confidence) if predicted else None
        f1 = 2 * hits / (support + predicted) if support + predicted else None
        table.append({"class": label, "support": support, "precision": precision, "recall": recall, "f1": f1})
    return table


def _decided(intervals: Mapping[str, Interval], name: str, share: Interval) -> dict[str, Interval]:
    """Return the interval of the share of right rows, and where all are, of what counts nothing but decisions, too."""
    found = {name: share}
    if share.value == 1:
        by_value = {1.0: share, 0.0: Interval(0.0, 0.0, 1 - share.low, share.method)}
        known = {other: intervals[other] for other in _DECISIONS & intervals.keys()}
        found |= {other: by_value.get(interval.value, interval) for other, interval in known.items()}  # NaN: there is no label
    return found


def _metrics(answers: torch.Tensor, targets: torch.Tensor, schema: Schema) -> dict[str, float]:
    if schema.task == "regression":
        if not schema.targets:
            return regression_metrics(answers[:, 0], targets)
        return regression_metrics(answers, targets) | rmse_of_each(answers, targets, schema.targets)
    numbers = label_metrics(answers, targets) if schema.task == "multilabel" else classification_metrics(answers, targets)
    return numbers | ({"auroc": auroc(answers, targets)} if len(targets) <= _MOST_ROWS_SORTED else {})
