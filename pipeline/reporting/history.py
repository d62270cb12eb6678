"""What a training was like, in two pictures for people without TensorBoard: every metric, and every layer."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reporting.figures import (
    Axes,
    Room,
    color_bar,
    epoch_axis,
    legend_of_marks,
    log_axis,
    mark_epochs,
    palette,
    save,
    sheet,
)

_COLUMNS = 4
_COLORS = {"train": "tab:blue", "train_eval": "tab:cyan", "val": "tab:orange"}
_MOST_LINES = 16  # that a legend can tell apart
_MOST_NAMED = 56  # layers whose names can stand below each other
_LONG_NAMES = 32  # letters; the last ones tell a parameter from its neighbors
_HEALTHY_RATIO = 1e-3


def metrics_figure(
    path: Path, history: Sequence[Mapping[str, Any]], *, best_epoch: int, title: str, stopped: str | None = None
) -> None:
    """Draw every metric of the history in a panel of its own, train and validation together.

    best_epoch: marked in each panel, as is the last epoch where `stopped` says why it was.
    """
    by_metric = _by_metric(history)
    rows = math.ceil(len(by_metric) / _COLUMNS)
    columns = min(_COLUMNS, len(by_metric))
    figure, every = sheet(2.6, 1.8, rows=rows, columns=columns, room=Room(left=0.6, top=0.75, bottom=0.95))
    epochs = [line["epoch"] for line in history]
    for axes, (metric, names) in zip(every, by_metric.items(), strict=False):
        for split, name in names.items():
            values = [_number(line.get(name)) for line in history]
            axes.plot(epochs, values, label=split, color=_COLORS.get(split, "black"), marker="." if len(epochs) == 1 else "")
        mark_epochs(axes, best_epoch, epochs[-1], stopped)
        epoch_axis(axes, metric)
    for axes in every[len(by_metric) :]:
        axes.set_axis_off()
    whole = max(every[: len(by_metric)], key=lambda axes: len(axes.get_lines()))
    figure.legend(handles=whole.get_lines(), loc="lower center", ncols=5, fontsize=9, frameon=False)
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), va="top", fontsize=11)
    save(figure, path)


def gradients_figure(
    path: Path,
    epochs: Sequence[int],
    norms: Mapping[str, Sequence[float]],
    ratios: Mapping[str, Sequence[float]],
    *,
    title: str,
    best_epoch: int | None = None,
    stopped: str | None = None,
) -> None:
    """Draw gradient norms and update ratios by parameter over epochs, both on a log scale.

    norms, ratios: name → (epochs,), in the network's order. Up to 16 parameters are lines, biases dashed, more are the rows of
    a map, on which as many are named as there is room for.
    """
    panels = (("gradient norm", norms), ("update ratio", ratios))
    if len(norms) <= _MOST_LINES:
        figure, every = sheet(4.6, 3.8, columns=2, room=Room(left=0.9, right=2.6, across=0.95, top=0.75, bottom=0.95))
        for axes, (label, curves) in zip(every, panels, strict=True):
            _lines(axes, epochs, curves)
            mark_epochs(axes, best_epoch, epochs[-1], stopped)
            epoch_axis(axes, label)
        guide = every[1].axhline(_HEALTHY_RATIO, color="black", linewidth=1, linestyle="-.", label="update ratio 1e-3")
        handles = [*every[0].get_lines()[: len(norms)], guide]
        every[1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, fontsize=8)
        legend_of_marks(figure, every[0])
    else:
        letters = min(_LONG_NAMES, max(map(len, norms)))
        room = Room(left=0.3 + 0.065 * letters, top=0.75, bottom=0.95, right=1.2, across=1.3)
        figure, every = sheet(4.2, min(max(0.16 * len(norms), 2.5), 9.0), columns=2, room=room)
        for axes, (label, curves) in zip(every, panels, strict=True):
            around = _HEALTHY_RATIO if label == "update ratio" else None
            color_bar(axes, _map(axes, epochs, curves, around=around), f"log10 of the {label}")
            mark_epochs(axes, best_epoch, epochs[-1], stopped)
            epoch_axis(axes, label + (" (white: 1e-3)" if around else ""))
            axes.grid(visible=False)
        every[1].set_yticks([])
        legend_of_marks(figure, every[0])
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), va="top", fontsize=11)
    save(figure, path)


def _by_metric(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return metric → split → name in the history; `train/loss` is the metric loss of the split train."""
    found: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(name for line in history for name in line):
        split, slash, metric = name.partition("/")
        if slash:
            found.setdefault(metric, {})[split] = name
    return {"loss": found.pop("loss", {})} | found | {"learning rate": {"train": "lr"}}


def _lines(axes: Axes, epochs: Sequence[int], curves: Mapping[str, Sequence[float]]) -> None:
    for color, (name, values) in zip(palette(len(curves)), curves.items(), strict=True):
        marker = "." if len(epochs) == 1 else ""
        style = "--" if name.endswith("bias") else "-"
        axes.plot(epochs, _positive(values), label=_tail(name), color=color, linewidth=1.4, linestyle=style, marker=marker)
    log_axis(axes)


def _map(axes: Axes, epochs: Sequence[int], curves: Mapping[str, Sequence[float]], *, around: float | None) -> Any:
    """Draw a row for each curve, the first on top. around: the value that is white, with two decades to each side."""
    every = math.ceil(len(curves) / _MOST_NAMED)
    names = list(curves)
    with np.errstate(invalid="ignore"):
        heights = np.log10(np.stack([_positive(values) for values in curves.values()]))
    edges = np.concatenate([np.asarray(epochs) - 0.5, [epochs[-1] + 0.5]])
    middle = math.log10(around) if around else 0.0
    colors = {"cmap": "RdBu_r", "vmin": middle - 2, "vmax": middle + 2} if around else {"cmap": "viridis"}
    picture = axes.pcolormesh(edges, np.arange(len(names) + 1) - 0.5, heights, shading="flat", **colors)
    axes.set_yticks(range(0, len(names), every), [_tail(name) for name in names[::every]], fontsize=7)
    axes.invert_yaxis()
    return picture


def _tail(name: str) -> str:
    return name if len(name) <= _LONG_NAMES else "…" + name[1 - _LONG_NAMES :]


def _positive(values: Sequence[float]) -> NDArray[np.float64]:
    """Return what a log scale can show; zeros and what is not finite are gaps."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value
