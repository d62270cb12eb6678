"""Pictures as PNG; the only file that imports matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

_LONG_LABELS = 24


def confusion_figure(path: Path, matrix: NDArray[np.int64], classes: Sequence[str], *, title: str) -> None:
    """Draw (true class, predicted class) counts; shades are shares of the true class, so that rare classes show."""
    size = max(4.5, 0.55 * len(classes) + 2)
    figure, axes = _figure(size + 0.8, size)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [label if len(label) <= _LONG_LABELS else label[: _LONG_LABELS - 1] + "…" for label in classes]
    axes.set_xticks(range(len(labels)), labels, rotation=45 if max(map(len, labels)) > 3 else 0)
    axes.set_yticks(range(len(labels)), labels)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            axes.text(
                column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black"
            )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title)
    figure.savefig(path)


def residual_figure(path: Path, predicted: NDArray[Any], targets: NDArray[Any], *, target: str, title: str) -> None:
    """Draw residuals over predictions; both (rows,), in the target's unit."""
    figure, axes = _figure(6.5, 4.5)
    axes.axhline(0, color="gray", linewidth=1)
    axes.scatter(predicted, predicted - targets, s=18, alpha=0.6)
    axes.set_xlabel(f"predicted {target}")
    axes.set_ylabel("predicted - true")
    axes.set_title(title)
    figure.savefig(path)


def curves_figure(path: Path, history: Sequence[dict[str, Any]], *, metric: str, best_epoch: int, title: str) -> None:
    """Draw loss, one metric, the gradient norm and the learning rate over epochs, with the best epoch marked."""
    figure = Figure(figsize=(14, 3.6), dpi=110, layout="constrained")
    epochs = [line["epoch"] for line in history]
    panels: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("loss", ("train/loss", "val/loss")),
        (metric, (f"train/{metric}", f"val/{metric}")),
        ("gradient norm before clipping", ("train/grad_norm",)),
        ("learning rate", ("lr",)),
    )
    for axes, (label, names) in zip(figure.subplots(1, 4), panels, strict=True):
        for name in names:
            axes.plot(epochs, [line[name] for line in history], label=name)
        axes.axvline(best_epoch, color="gray", linestyle="--", linewidth=1, label=f"best epoch {best_epoch}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    figure.savefig(path)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, figure.subplots()
