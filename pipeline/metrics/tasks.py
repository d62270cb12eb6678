"""The metrics of each task, on all rows at once: aggregated over rows, never averaged over batches."""

import torch
from torch import Tensor
from torchmetrics import functional

LOWER_IS_BETTER = frozenset({"loss", "cross_entropy", "mse", "rmse", "mae", "mape", "max_error", "grad_norm"})


def confusion(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return (true class, predicted class) counts, int64; predicted and targets: (rows,) class indices.

    One bincount. torchmetrics' own matrix takes rows times classes squared of memory where torch must be deterministic.
    """
    return torch.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)


def classification_metrics(predicted: Tensor, targets: Tensor, classes: int) -> dict[str, float]:
    """Return accuracy and macro precision, recall and F1; predicted and targets: (rows,) class indices.

    The macro average is over the classes that occur, as a target or as a prediction; a class that is never predicted has
    precision 0.
    """
    matrix = confusion(predicted, targets, classes).double()
    hits, support, given = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    occurs = support + given > 0

    def macro(share: Tensor) -> float:
        return float(share.nan_to_num(0.0)[occurs].mean())

    return {
        "accuracy": float(hits.sum() / matrix.sum()),
        "precision": macro(hits / given),
        "recall": macro(hits / support),
        "f1": macro(2 * hits / (support + given)),
    }


def regression_metrics(predicted: Tensor, targets: Tensor) -> dict[str, float]:
    """Return errors in the target's unit; predicted and targets: (rows,). MAPE is a fraction, 0.1 for 10 %."""
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
