"""Pictures as PNG; the only file that imports matplotlib."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

__all__ = ["Axes", "Figure"]  # mypy: history.py takes them from here

DPI = 100
_LONG_LABELS = 24
_MOST_COUNTS, _MOST_TICKS = 25, 50  # classes whose counts, and whose names, can be read beside each other
_MOST_OUTPUTS = 6  # with a panel each
_MOST_POINTS = 5000  # of a scatter; more are drawn on top of each other
_BEST, _STOP = "tab:green", "tab:red"


@dataclass(frozen=True)
class Room:
    """Inches around panels and between them: what labels, titles and legends need.

    Fixed, since matplotlib's own layouts draw everything twice to find it.
    """

    left: float = 0.8
    right: float = 0.25
    top: float = 0.45
    bottom: float = 0.6
    across: float = 0.7
    down: float = 0.8


def sheet(
    width: float, height: float, *, rows: int = 1, columns: int = 1, room: Room | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure whose panels are each so many inches, and the panels, row by row."""
    room = room or Room()
    whole_width = room.left + columns * width + (columns - 1) * room.across + room.right
    whole_height = room.top + rows * height + (rows - 1) * room.down + room.bottom
    figure = Figure(figsize=(whole_width, whole_height), dpi=DPI)
    panels = []
    for row in range(rows):
        bottom = room.bottom + (rows - 1 - row) * (height + room.down)
        for column in range(columns):
            left = room.left + column * (width + room.across)
            place = (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
            panels.append(figure.add_axes(place))
    return figure, panels


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, pil_kwargs={"compress_level": 3})


def palette(count: int) -> list[tuple[float, ...]]:
    """Return so many colors, from blue for the first to red for the last."""
    return [tuple(color) for color in colormaps["turbo"](np.linspace(0.05, 0.95, count))]


def shortened(label: str, most: int = _LONG_LABELS) -> str:
    """Return a label that leaves room for the picture."""
    return label if len(label) <= most else label[: most - 1] + "…"


def confusion_figure(path: Path, matrix: NDArray[np.int64], classes: Sequence[str], *, title: str) -> None:
    """Draw (true class, predicted class) counts; shades are shares of the true class, so that rare classes show.

    Of more than 25 classes the counts are left out, of more than 50 some names, too.
    """
    count = len(classes)
    every = math.ceil(count / _MOST_TICKS)
    labels, places = [shortened(label) for label in classes][::every], range(0, count, every)
    longest = max(map(len, labels))
    letters = longest * (0.07 if count > _MOST_COUNTS else 0.09)  # inches
    below = letters if count > _MOST_COUNTS else 0.75 * letters if longest > 3 else 0.2
    size = min(max(3.2, 0.5 * count), 9.0)
    room = Room(left=0.6 + letters, bottom=0.6 + below, top=0.65, right=1.2 if count > _MOST_COUNTS else 0.4)
    figure, (axes,) = sheet(size, size, room=room)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count > _MOST_COUNTS:
        axes.set_xticks(places, labels, rotation=90)
    elif longest > 3:
        axes.set_xticks(places, labels, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
    if count > _MOST_COUNTS:
        axes.tick_params(labelsize=7)
        color_bar(axes, shown, "share of the true class")
    else:
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title + (f"\none of {every} classes is named" if every > 1 else ""), y=1.01)
    save(figure, path)


def residual_figure(path: Path, predicted: NDArray[Any], targets: NDArray[Any], *, names: Sequence[str], title: str) -> None:
    """Draw residuals over predictions in the target's unit; both (rows, outputs), a panel for each of the first 6 outputs."""
    figure, panels = panel_each(5.6, 3.6, names)
    for axes, x, true, name in zip(panels, predicted.T, targets.T, names, strict=False):
        axes.axhline(0, color="gray", linewidth=1)
        scatter(axes, x, x - true)
        axes.set_xlabel(f"predicted {shortened(name)}")
        axes.set_ylabel("predicted - true")
    head(figure, panels, names, title)
    save(figure, path)


def panel_each(width: float, height: float, names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each name, at most 6, three beside each other; smaller ones where there are several."""
    count = min(len(names), _MOST_OUTPUTS)
    if count == 1:
        return sheet(width, height)
    columns = min(count, 3)
    figure, panels = sheet(
        0.6 * width, 0.65 * height, rows=math.ceil(count / columns), columns=columns, room=Room(top=0.6, across=0.85)
    )
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def head(figure: Figure, panels: Sequence[Axes], names: Sequence[str], title: str) -> None:
    """Write a title above the panels of `panel_each`, and which outputs they are where there are more."""
    if len(names) == 1:
        panels[0].set_title(title, y=1.02)
        return
    shown = f"\nthe first {len(panels)} of {len(names)} outputs" if len(panels) < len(names) else ""
    figure.suptitle(title + shown, y=1 - 0.08 / figure.get_figheight(), va="top", fontsize=11)


def curves_figure(
    path: Path, history: Sequence[Mapping[str, Any]], *, metric: str, best_epoch: int, title: str, stopped: str | None = None
) -> None:
    """Draw loss, one metric, the gradient norm and the learning rate over epochs, the best epoch and the last one marked.

    stopped: why training ended, such as `early_stopping`; None: the last epoch is not marked.
    """
    figure, every = sheet(2.7, 2.5, columns=4, room=Room(left=0.6, top=0.75, bottom=0.95))
    epochs = [line["epoch"] for line in history]
    panels: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("loss", ("train/loss", "val/loss")),
        (metric, (f"train/{metric}", f"val/{metric}")),
        ("gradient norm before clipping", ("train/grad_norm",)),
        ("learning rate", ("lr",)),
    )
    for axes, (label, names) in zip(every, panels, strict=True):
        for name in names:
            axes.plot(
                epochs, [line.get(name, math.nan) for line in history], label=name, marker="." if len(epochs) == 1 else ""
            )
        mark_epochs(axes, best_epoch, epochs[-1], stopped)
        epoch_axis(axes, label)
        if len(names) > 1:
            axes.legend(handles=axes.get_lines()[: len(names)], fontsize=8)
    legend_of_marks(figure, every[0])
    figure.suptitle(title, y=0.985, va="top", fontsize=11)
    save(figure, path)


def mark_epochs(axes: Axes, best_epoch: int | None, last_epoch: int, stopped: str | None) -> None:
    """Draw a line at the best epoch, and one at the last where `stopped` says why it was."""
    if best_epoch is not None:
        axes.axvline(best_epoch, color=_BEST, linestyle="--", linewidth=1.2, label=f"best epoch: {best_epoch}")
    if stopped is not None:
        axes.axvline(last_epoch, color=_STOP, linestyle=":", linewidth=1.5, label=f"ended after epoch {last_epoch}: {stopped}")


def legend_of_marks(figure: Figure, axes: Axes) -> None:
    """Explain the lines of `mark_epochs` once, below all panels."""
    marks = [line for line in axes.get_lines() if line.get_color() in (_BEST, _STOP)]
    if marks:
        figure.legend(handles=marks, loc="lower center", ncols=len(marks), fontsize=9, frameon=False)


def color_bar(axes: Axes, shown: ScalarMappable, label: str) -> None:
    """Explain the colors of a panel in the room to its right, about an inch."""
    bar = axes.inset_axes((1.03, 0.0, 0.15 / axes.bbox.width * DPI, 1.0))
    axes.get_figure(root=True).colorbar(shown, cax=bar, label=label)  # type: ignore[union-attr]  # it has one


def epoch_axis(axes: Axes, title: str) -> None:
    """Name a panel whose horizontal axis is epochs, which are whole numbers; a long label beside it would need room."""
    height = axes.bbox.height / DPI  # inches
    # Places that are given cost nothing; to find them, all tick labels are laid out once more.
    axes.set_title(title, fontsize=10, y=1 + 0.06 / height)
    axes.set_xlabel("epoch")
    axes.xaxis.set_label_coords(0.5, -0.3 / height)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    if isinstance(axes.yaxis.get_major_formatter(), ScalarFormatter):  # neither logarithms nor names
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))
    axes.grid(alpha=0.3)


def log_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with numbers such as 1e-3, which are drawn faster than powers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))


def scatter(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    """Draw points, both (rows,); of very many only every so many."""
    every = math.ceil(len(x) / _MOST_POINTS)
    axes.scatter(x[::every], y[::every], s=18, alpha=0.6)
