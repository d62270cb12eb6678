"""Quality against speed in one picture: who is beaten by nobody, and what it weighs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.metrics.tasks import lower_is_better
from pipeline.reporting.figures import DPI, Axes, Room, save, sheet, shortened

# Colors that people with any kind of color vision tell apart (Okabe and Ito 2008).
_COLORS = {"train": "#0072B2", "prune": "#E69F00", "distill": "#009E73"}
_OTHER = "#CC79A7"
_MARKERS = {"fp32": "o", "int8": "s"}
_BASELINE = ("black", "*")
_POINTS_A_PIXEL = 72 / DPI
_SHORT, _LONGEST = 28, 40  # letters of a name: `distill-int8-dynamic.onnx on openvino` is not cut
_LARGEST, _SMALLEST = 900.0, 40.0  # areas in square points; below, a marker cannot be recognized


@dataclass(frozen=True)
class Point:
    """An artifact in the picture."""

    name: str
    metric: float
    latency_ms: float
    bytes: int
    variant: str
    precision: str
    baseline: bool = False
    unstable: bool = False


def pareto_figure(path: Path, points: Sequence[Point], *, metric: str, title: str) -> None:
    """Draw the metric over the median latency on a log scale; the area of a point is its file's size.

    The line joins those that no other point beats in both. Better is always up and left. Points are numbered from the fastest
    to the slowest, and named beside the panel, where names have room.
    """
    width, height = 6.0, max(4.4, 0.26 * (len(points) + 2))
    right = 4.1 if any(len(point.name) > _SHORT for point in points) else 3.3
    figure, (axes,) = sheet(width, height, room=Room(left=0.9, right=right, top=0.7, bottom=0.6))
    falls = lower_is_better(metric)
    largest = max((point.bytes for point in points), default=1)
    ordered = sorted(points, key=lambda point: (point.latency_ms, point.name))
    for point in sorted(ordered, key=lambda point: -point.bytes):  # small ones in front of large ones
        area = max(_SMALLEST, _LARGEST * point.bytes / largest)
        axes.scatter(point.latency_ms, point.metric, s=area, alpha=0.75, **_look(point))
    handles = [axes.scatter([math.nan], [math.nan], s=45, **_look(point)) for point in ordered]
    best = front(points, falls=falls)
    line: dict[str, Any] = {"color": "gray", "linewidth": 1, "linestyle": "--", "zorder": 0}
    axes.plot([point.latency_ms for point in best], [point.metric for point in best], **line)
    axes.set_xscale("log")
    _room_around(axes, points, falls)
    _numbers(axes, ordered, largest)
    axes.set_xlabel("median latency at batch 1, ms")
    axes.set_ylabel(f"{metric} on validation rows" + (" (upside down: better is up)" if falls else ""))
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    if handles:
        names = [f"{number}  {_named(point)}" for number, point in enumerate(ordered, start=1)]
        legend: dict[str, Any] = {"bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0, "frameon": False}
        axes.legend(handles, names, loc="upper left", fontsize=8, labelspacing=0.7, handletextpad=0.3, **legend)
    save(figure, path)


def _named(point: Point) -> str:
    size = f"{point.bytes / 1e3:,.3g} KB" if point.bytes < 1e6 else f"{point.bytes / 1e6:,.3g} MB"
    return f"{shortened(point.name, _LONGEST)}, {size}" + (", unstable" if point.unstable else "")


def front(points: Sequence[Point], *, falls: bool) -> list[Point]:
    """Return the points that no other one beats in latency and metric, from the fastest to the best; falls: less is better."""
    sign = -1 if falls else 1
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency_ms, -sign * point.metric)):
        if not found or sign * point.metric > sign * found[-1].metric:
            found.append(point)
    return found


def _look(point: Point) -> dict[str, Any]:
    """Return color by variant, marker by precision; hollow where the latency is not stable."""
    color = _COLORS.get(point.variant, _OTHER)
    marker = _MARKERS.get(point.precision, "^")
    if point.baseline:
        color, marker = _BASELINE
    return {"marker": marker, "facecolor": "none" if point.unstable else color, "edgecolor": color, "linewidth": 1.5}


def _room_around(axes: Axes, points: Sequence[Point], falls: bool) -> None:
    if not points:
        return
    times = [point.latency_ms for point in points]
    low, high = min(times) / 1.6, max(times) * 1.6
    axes.set_xlim(low, high)
    few = math.log10(high / low) < 1.5
    marks = (1, 2, 3, 5, 7) if few else (1, 2, 5)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [mark * 10.0**decade for decade in decades for mark in marks if low <= mark * 10.0**decade <= high]
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    low, high = min(point.metric for point in points), max(point.metric for point in points)
    room = 0.2 * (high - low) or 0.02 * abs(high) or 0.02
    axes.set_ylim(*((high + room, low - room) if falls else (low - room, high + room)))


def _numbers(axes: Axes, ordered: Sequence[Point], largest: int) -> None:
    """Write each point's number above it, moved up where another number stands."""
    taken: list[tuple[float, float]] = []  # in pixels
    for number, point in enumerate(ordered, start=1):
        x, y = axes.transData.transform((point.latency_ms, point.metric))
        radius = math.sqrt(max(_SMALLEST, _LARGEST * point.bytes / largest)) / 2  # points
        place = x, y + (radius + 2) / _POINTS_A_PIXEL
        while any(abs(place[0] - other) < 13 and abs(place[1] - above) < 11 for other, above in taken):
            place = place[0], place[1] + 11
        taken.append(place)
        offset = ((place[0] - x) * _POINTS_A_PIXEL, (place[1] - y) * _POINTS_A_PIXEL)
        axes.annotate(
            str(number), (point.latency_ms, point.metric), xytext=offset, textcoords="offset points", fontsize=8, ha="center"
        )
