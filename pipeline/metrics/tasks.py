"""The metrics of each task, on all rows at once: aggregated over rows, never averaged over batches."""

import torch
from torch import Tensor

LOWER_IS_BETTER = frozenset({"loss", "cross_entropy", "mse", "rmse", "mae", "mape", "max_error", "grad_norm", "fpr"})
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

    probabilities: (rows, classes), targets: (rows,) class indices. From ranks, ties shared (Hanley and McNeil 1982): one
    sort for each class instead of a curve over thresholds.
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
    return targets.unsqueeze(0) == torch.arange(classes, device=targets.device).unsqueeze(1)


def class_metrics(probabilities: Tensor, targets: Tensor) -> dict[str, list[float]]:
    """Return precision, recall and F1 of each class, in the order of the classes; 0 where there is nothing to divide by."""
    matrix = confusion(probabilities.argmax(1), targets, probabilities.shape[1]).double()
    hits, support, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    shares = {"precision": hits / given, "recall": hits / support, "f1": 2 * hits / (support + given)}
    return {name: share.nan_to_num(0.0).tolist() for name, share in shares.items()}


def regression_metrics(predicted: Tensor, targets: Tensor) -> dict[str, float]:
    """Return errors in the target's unit; predicted and targets: (rows,). MAPE is a fraction, 0.1 for 10 %."""
    from torchmetrics import functional  # late: it takes most of a second

    mse = float(functional.mean_squared_error(predicted, targets))
    return {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(functional.mean_absolute_error(predicted, targets)),
        "mape": float(functional.mean_absolute_percentage_error(predicted, targets)),
        "max_error": float((predicted - targets).abs().max()),
        "r2": float(functional.r2_score(predicted, targets)) if len(targets) > 1 else float("nan"),
    }


def lower_is_better(name: str) -> bool:
    """Return whether a metric such as `val/loss` falls when the model improves."""
    return name.rpartition("/")[2] in LOWER_IS_BETTER
