"""The metrics of each task, on all rows at once: aggregated over rows, never averaged over batches."""

from collections.abc import Callable

from torch import Tensor
from torchmetrics import functional

LOWER_IS_BETTER = frozenset({"loss", "cross_entropy", "mse", "rmse", "mae", "mape", "max_error", "grad_norm"})


def classification_metrics(predicted: Tensor, targets: Tensor, classes: int) -> dict[str, float]:
    """Return accuracy and macro precision, recall and F1; predicted and targets: (rows,) class indices."""

    def macro(metric: Callable[..., Tensor]) -> float:
        return float(metric(predicted, targets, num_classes=classes, average="macro", validate_args=False))

    return {
        "accuracy": float((predicted == targets).double().mean()),
        "precision": macro(functional.classification.multiclass_precision),
        "recall": macro(functional.classification.multiclass_recall),
        "f1": macro(functional.classification.multiclass_f1_score),
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
