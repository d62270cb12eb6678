"""The data report: one HTML file without scripts and without a network, from what `pipeline.data.profile.profile` found.

page = data_page(profile(subject, …), example_pictures(subject))
"""

import base64
from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.artifacts import SPLITS
from pipeline.reporting.data_figures import bars

_TEMPLATES = Path(__file__).parent / "templates"
_EPOCH = date(1970, 1, 1)
_NAMED = 3  # categories that stand beside a picture


def data_page(profile: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """Return the page as UTF-8. pictures: PNG of examples of each class, by its label; every name and value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(_TEMPLATES), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"], environment.filters["count"], environment.filters["percent"] = _number, _count, _percent
    found = profile["findings"]
    text = environment.get_template("data.html.j2").render(
        profile=profile,
        splits=SPLITS,
        failed=[finding for finding in found if finding["verdict"] == "FAIL"],
        warned=[finding for finding in found if finding["verdict"] == "WARN"],
        passed=[finding for finding in found if finding["verdict"] == "PASS"],
        columns=[column | _drawn(column) for column in profile["columns"]],
        outputs=[output | _picture(output["histogram"], "number", large=True) for output in profile["target"]["outputs"]],
        balance=_balance(profile["target"]["classes"]),
        brightness=_picture(profile["images"]["brightness"], "number", large=True) if profile["images"] else None,
        pictures={label: base64.b64encode(png).decode() for label, png in pictures.items()},
    )
    return text.encode()


def _drawn(column: Mapping[str, Any]) -> dict[str, Any]:
    """Return the picture of a column's values, and the words below it."""
    if "histogram" in column:
        return _picture(column["histogram"], column["kind"], large=False)
    top, others = column["top"], column["others"]
    counts = {split: [category[split] for category in top] + [others[split]] * (others["train"] > 0) for split in SPLITS}
    names = [category["text"] for category in top[:_NAMED]]
    more = column["distinct"] - len(names)
    caption = ", ".join(names) + (f" and {more:,} more" if more > 0 else "")
    return {"picture": bars(counts["train"], counts["test"]), "low": caption, "high": ""}


def _picture(histogram: Mapping[str, Any], kind: str, *, large: bool) -> dict[str, Any]:
    edges = histogram["edges"]
    draw = partial(bars, width=480, height=120) if large else bars
    half = 0.5 if histogram["whole"] else 0.0  # each bar is one integer, its edges lie between two
    ends = [_end(edges[0] + half, kind), _end(edges[-1] - half, kind)] if edges else ["", ""]
    if edges and histogram["clipped"]:
        ends = [f"≤ {ends[0]}", f"≥ {ends[1]}"]
    return {"picture": draw(histogram["train"], histogram["test"]), "low": ends[0], "high": ends[1]}


def _end(edge: float, kind: str) -> str:
    return (_EPOCH + timedelta(days=int(edge // 1))).isoformat() if kind == "date" else _number(edge)


def _balance(classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return classes, most frequent first, with the width of their bars: percent of the most frequent."""
    most = max((entry["train"] for entry in classes), default=0)
    ordered = sorted(classes, key=lambda entry: -entry["train"])
    return [entry | {"width": round(100 * entry["train"] / max(1, most), 1)} for entry in ordered]


def _number(value: Any) -> str:
    """Return four digits of a number; text and nothing as they are."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if abs(value) < 1e9 and (abs(value) >= 1000 or float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _count(value: int) -> str:
    return f"{value:,}"


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "0" if share == 0 else f"{100 * share:.1f} %"
