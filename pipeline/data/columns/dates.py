"""Which way of writing dates a column of text follows: the one that every cell fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.columns import parse_date

if TYPE_CHECKING:
    import polars as pl

_DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y")
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y")
_TIMES = (" %H:%M", " %H:%M:%S")
FORMATS: tuple[str | None, ...] = (
    None,
    *_DAYS,
    *_NAMED,
    *(day + time for day in _DAYS for time in _TIMES),
)
_ISO = (
    r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?\s*$"
)
_TRIED = 10  # texts that decide which formats are looked at
_SHARE = 0.8  # of cells that make a column one of dates with faults


@dataclass(frozen=True)
class DateFormats:
    """Formats that cells fit, best first, and whether all cells fit the best one; None stands for ISO 8601."""

    formats: tuple[str | None, ...]
    whole: bool


def fits(text: str, date_format: str | None) -> bool:
    """Return whether a text is such a date, written in full: 2026 alone, or 20261130, is a number."""
    if date_format is None and text.strip()[4:5] != "-":
        return False
    try:
        parse_date(text.strip(), date_format)
    except ValueError:
        return False
    return True


def date_formats(counts: Mapping[str, int]) -> DateFormats | None:
    """Return the formats that most cells fit, or None where fewer than four in five are dates.

    counts: how often each text occurs.
    """
    texts = list(counts)
    few = texts[:: max(1, len(texts) // _TRIED)]
    possible = [found for found in FORMATS if few and any(fits(text, found) for text in few)]
    fitting = {found: sum(count for text, count in counts.items() if fits(text, found)) for found in possible}
    best, cells = max(fitting.values(), default=0), sum(counts.values())
    if not best or best < _SHARE * cells:
        return None
    return DateFormats(tuple(found for found, count in fitting.items() if count == best), best == cells)


def is_date(name: str, date_format: str | None) -> "pl.Expr":
    """Return whether each cell of a column of text is such a date, as `fits` does, for columns of any size."""
    import polars as pl

    column = pl.col(name).str.strip_chars()
    if date_format is None:
        return column.str.contains(_ISO) & column.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).is_not_null()
    parsed = column.str.to_datetime if "%H" in date_format else column.str.to_date
    return parsed(date_format, strict=False).is_not_null()
