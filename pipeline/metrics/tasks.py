"""The metrics of each task, on all rows at once: aggregated over rows, never averaged over batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from serving.answers import LABEL_FROM

LOWER_IS_BETTER = frozenset(
    {"loss", "cross_entropy", "bce", "hamming", "mse", "rmse", "mae", "mape", "max_error", "grad_norm", "fpr"}
)
_SMALLEST = 1e-12  # a probability of exactly 0 for the true class would make the cross entropy infinite


def confusion(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return (true class, predicted class) counts, int64; predicted and targets: (rows,) class indices.

    One bincount. torchmetrics' own matrix takes rows times classes squared of memory where torch must be deterministic.
    """
    return torch.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)


def classification_metrics(probabilities: Tensor, targets: Tensor, *, top_k: int | None = None) -> dict[str, float]:
    """Return each metric by name; probabilities: (rows, classes), targets: (rows,) class indices.

    precision, recall, f1, tpr, fpr and auroc are means over classes, each against the rest; of two classes, tpr and fpr are the
    second one's. The means are over the classes that occur, as a target or as a prediction; a class that is never predicted has
    precision 0. `top_k` adds the share of rows whose class is among the k likeliest, where there are more classes than that.
    """
    classes = probabilities.shape[1]
    matrix = confusion(probabilities.argmax(1), targets, classes).double()
    hits, support, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    occurs = support + given > 0

    def macro(share: Tensor) -> float:
        return float(share.nan_to_num(0.0)[occurs].mean())

    recall, false_positive = hits / support, (given - hits) / (matrix.sum() - support)
    right = probabilities.gather(1, targets.unsqueeze(1)).double().clamp_min(_SMALLEST)
    numbers = {
        "cross_entropy": float(-right.log().mean()),
        "accuracy": float(hits.sum() / matrix.sum()),
        "precision": macro(hits / given),
        "recall": macro(recall),
        "f1": macro(2 * hits / (support + given)),
        "tpr": macro(recall) if classes > 2 else float(recall.nan_to_num(0.0)[-1]),
        "fpr": macro(false_positive) if classes > 2 else float(false_positive.nan_to_num(0.0)[-1]),
    }
    if top_k is not None and top_k < classes:
        found = probabilities.topk(top_k, dim=1).indices == targets.unsqueeze(1)
        numbers[f"top{top_k}"] = float(found.any(1).double().mean())
    return numbers


def auroc(probabilities: Tensor, targets: Tensor) -> float:
    """Return the area under the ROC curve, the mean over classes against the rest; NaN where only one class occurs.

    probabilities: (rows, classes), targets: (rows,) class indices; or (rows, labels) and 0 or 1 for each, where the mean is
    over labels that some rows have and others lack. From ranks, ties shared (Hanley and McNeil 1982): one sort for each class
    instead of a curve over thresholds.
    """
    areas = []
    for scores, is_class in zip(probabilities.T, _against_the_rest(targets, probabilities.shape[1]), strict=True):
        positive = int(is_class.sum())
        negative = len(targets) - positive
        if positive and negative:
            ordered, wanted = scores.sort().values, scores[is_class].contiguous()
            ranks = torch.searchsorted(ordered, wanted) + torch.searchsorted(ordered, wanted, right=True) + 1
            areas.append((float(ranks.double().sum()) / 2 - positive * (positive + 1) / 2) / (positive * negative))
    return sum(areas) / len(areas) if areas else float("nan")


def _against_the_rest(targets: Tensor, classes: int) -> Tensor:
    """Return (classes, rows) booleans."""
    if targets.ndim == 2:
        return targets.T > 0.5
    return targets.unsqueeze(0) == torch.arange(classes, device=targets.device).unsqueeze(1)


def class_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, list[float]]:
    """Return precision, recall and F1 of each class or label, in their order; 0 where there is nothing to divide by.

    probabilities: (rows, classes), targets: (rows,) class indices; or (rows, labels) and 0 or 1 for each.
    """
    if targets.ndim == 2:
        hits, support, given = _of_labels(label_confusion(probabilities, targets))
    else:
        matrix = confusion(probabilities.argmax(1), targets, probabilities.shape[1]).double()
        hits, support, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    shares = {"precision": hits / given, "recall": hits / support, "f1": 2 * hits / (support + given)}
    return {name: share.nan_to_num(0.0).tolist() for name, share in shares.items()}


def label_confusion(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return (labels, true, predicted) counts, int64, each (2, 2) from "lacks it" to "has it".

    probabilities and targets: (rows, labels). A row is given each label whose probability is at least 0.5; of mixed rows, whose
    targets are no whole numbers, it has those above 0.5.
    """
    given, true = probabilities >= LABEL_FROM, targets > 0.5
    counts = [(one & other).sum(0) for one in (~true, true) for other in (~given, given)]
    return torch.stack(counts, dim=1).reshape(-1, 2, 2)


def label_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Return each metric of rows that may have several labels, or none; probabilities and targets: (rows, labels).

    bce is the binary cross entropy, the mean over rows and labels; hamming the share of decisions about a label that are wrong;
    exact_match the share of rows whose labels are all right. precision, recall and f1 are means over the labels that occur, as
    a target or as a prediction, NaN where none does; a label that is never predicted has precision 0. f1_micro counts the
    decisions about all labels together. Decisions are as in `label_confusion`.
    """
    true = targets > 0.5
    hits, support, given = _of_labels(label_confusion(probabilities, targets))
    occurs = support + given > 0
    wrong = (probabilities >= LABEL_FROM) != true
    right = torch.where(true, probabilities, 1 - probabilities).double().clamp_min(_SMALLEST)

    def macro(share: Tensor) -> float:
        return float(share.nan_to_num(0.0)[occurs].mean())

    return {
        "bce": float(-right.log().mean()),
        "f1": macro(2 * hits / (support + given)),
        "f1_micro": float(2 * hits.sum() / (support + given).sum()),
        "precision": macro(hits / given),
        "recall": macro(hits / support),
        "hamming": float(wrong.double().mean()),
        "exact_match": float((~wrong.any(1)).double().mean()),
    }


def _of_labels(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each label how often it was rightly given, how often it is there, and how often it was given."""
    numbers = counts.double()
    return numbers[:, 1, 1], numbers[:, 1].sum(1), numbers[:, :, 1].sum(1)


def regression_metrics(predicted: Tensor, targets: Tensor) -> dict[str, float]:
    """Return errors in the target's unit; predicted and targets: (rows,). MAPE is a fraction, 0.1 for 10 %.

    Of several outputs, both (rows, outputs), each number is the mean over outputs of what the output alone would have.
    """
    from torchmetrics import functional  # late: it takes most of a second

    mse = _squared_errors(predicted, targets)
    return {
        "mse": float(mse.mean()),
        "rmse": float(mse.sqrt().mean()),
        "mae": float(functional.mean_absolute_error(predicted, targets)),
        "mape": float(functional.mean_absolute_percentage_error(predicted, targets)),
        "max_error": float((predicted - targets).abs().amax(0).mean()),
        "r2": float(functional.r2_score(predicted, targets)) if len(targets) > 1 else float("nan"),
    }


def rmse_of_each(predicted: Tensor, targets: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return `rmse.<name>` of each output, in its own unit; predicted and targets: (rows, outputs)."""
    errors = _squared_errors(predicted, targets).sqrt().tolist()
    return {f"rmse.{name}": error for name, error in zip(names, errors, strict=True)}


def _squared_errors(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of each output, (outputs,) float64."""
    from torchmetrics import functional

    outputs = predicted.shape[1] if predicted.ndim == 2 else 1
    return functional.mean_squared_error(predicted, targets, num_outputs=outputs).double().reshape(outputs)


def lower_is_better(name: str) -> bool:
    """Return whether a metric such as `val/loss` falls when the model improves."""
    return name.rpartition("/")[2] in LOWER_IS_BETTER
