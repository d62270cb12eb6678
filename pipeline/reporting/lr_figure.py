"""The picture of a learning-rate range test."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.reporting.figures import sheet
from serving.files import write_atomic

_COLORS = ("tab:red", "tab:green")


def lr_figure(
    path: Path,
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    *,
    marks: Mapping[str, float],
    title: str,
) -> None:
    """Draw the loss of each step, and its moving average, over the learning rate; each (steps,).

    marks: what the legend says -> learning rate. The file appears whole or not at all.
    """
    figure, (axes,) = sheet(7.5, 4.5)
    axes.plot(rates, losses, color="tab:blue", alpha=0.25, linewidth=1, label="loss of a step")
    axes.plot(rates, smooth, color="tab:blue", label="moving average")
    for (label, rate), color in zip(marks.items(), _COLORS, strict=False):
        axes.axvline(rate, color=color, linestyle="--", linewidth=1, label=f"{label}: {rate:.2g}")
    low, start = min(losses), smooth[0]
    axes.set_ylim(low - 0.15 * (start - low) - 1e-9, max(start, low + 1e-9) + 0.6 * abs(start - low) + 1e-9)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate, rising with each step")
    axes.set_ylabel("loss")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left" if start - low < 0.5 * low else "lower left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomic(path, buffer.getvalue())
