"""What a network answers on validation rows, in pictures: values, ROC curves, and images with words above them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reporting.figures import DPI, Figure, Room, head, panel_each, save, scatter, sheet, shortened

_MOST_LABELS = 30


def predicted_figure(path: Path, predicted: NDArray[Any], targets: NDArray[Any], *, names: Sequence[str], title: str) -> None:
    """Draw predicted over true values with the line on which they are equal, in the target's unit.

    predicted, targets: (rows, outputs); a panel for each of the first 6 outputs.
    """
    figure, panels = panel_each(4.4, 4.2, names)
    for axes, x, true, name in zip(panels, predicted.T, targets.T, names, strict=False):
        ends = [float(min(x.min(), true.min())), float(max(x.max(), true.max()))]
        axes.plot(ends, ends, color="gray", linewidth=1, label="predicted = true")
        scatter(axes, true, x)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(f"true {shortened(name)}")
        axes.set_ylabel(f"predicted {shortened(name)}")
        axes.legend(fontsize=8)
    head(figure, panels, names, title)
    save(figure, path)


def labels_figure(path: Path, shares: Mapping[str, Sequence[float]], labels: Sequence[str], *, title: str) -> None:
    """Draw bars for each label; `shares` maps precision, recall and f1 to a number for each.

    Of more than 30 labels those with the lowest f1 are drawn.
    """
    order = sorted(range(len(labels)), key=lambda index: shares["f1"][index])[:_MOST_LABELS]
    shown = sorted(order, reverse=True)  # from below
    letters = 0.09 * max(len(shortened(labels[index])) for index in shown)
    figure, (axes,) = sheet(4.6, max(1.2, 0.42 * len(shown)), room=Room(left=0.4 + letters, right=1.3, top=0.65))
    thickness = 0.8 / len(shares)
    for place, (name, values) in enumerate(shares.items()):
        heights = [row + 0.4 - (place + 0.5) * thickness for row in range(len(shown))]
        axes.barh(heights, [values[index] for index in shown], height=thickness, label=name)
    axes.set_yticks(range(len(shown)), [shortened(labels[index]) for index in shown])
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
    left_out = f"\n{len(shown)} of {len(labels)} labels, lowest F1" if len(shown) < len(labels) else ""
    axes.set_title(title + left_out, y=1 + 0.05 / max(1.2, 0.42 * len(shown)))
    save(figure, path)


def roc_figure(
    path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str, note: str = ""
) -> None:
    """Draw true over false positive rates; `curves` maps what the legend says to (false rates, true rates).

    note: stands above the legend, such as which classes are left out.
    """
    heading = ["class (AUROC)", *([note] if note else [])]
    letters = max(map(len, [*heading, *map(shortened, curves)]))
    figure, (axes,) = sheet(4.2, 4.2, room=Room(right=0.8 + 0.065 * letters))
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="--")
    for label, (false, true) in curves.items():
        axes.plot(false, true, label=shortened(label), linewidth=1.5)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_aspect("equal")
    axes.set_title(title, y=1.02)
    axes.grid(alpha=0.3)
    axes.legend(
        title="\n".join(heading), title_fontsize=8, fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0
    )
    save(figure, path)


def images_figure(
    path: Path, images: NDArray[Any], titles: Sequence[str], *, limits: tuple[float, float], title: str, columns: int = 8
) -> None:
    """Draw images with up to three lines above each; (n, height, width) or (n, channels, height, width), between `limits`."""
    low, high = limits
    unit = np.clip((np.asarray(images, dtype=np.float64) - low) / ((high - low) or 1.0), 0.0, 1.0)
    if unit.ndim == 4:  # (n, height, width), or (n, height, width, 3) for colors
        unit = np.moveaxis(unit, 1, -1) if unit.shape[1] == 3 else unit.mean(axis=1)
    columns = min(columns, len(unit))
    rows = math.ceil(len(unit) / columns)
    figure = Figure(figsize=(max(1.25 * columns, 5.5), 1.6 * rows + 0.4), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, rows * 1.6 / (rows * 1.6 + 0.4)))
    axes.set_axis_off()
    for index, (image, above) in enumerate(zip(unit, titles, strict=True)):
        left, top = 1.25 * (index % columns), 1.6 * (index // columns)  # inches
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(left + 0.125, left + 1.125, top + 1.55, top + 0.55))
        lines = [shortened(line, 17) for line in above.splitlines()]
        axes.text(left + 0.625, top + 0.5, "\n".join(lines), fontsize=8, ha="center", va="bottom")
    axes.set_xlim(0, figure.get_figwidth())
    axes.set_ylim(rows * 1.6, 0)
    figure.suptitle(title, fontsize=9)
    save(figure, path)
