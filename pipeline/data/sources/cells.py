"""Cells of text become typed columns: whole numbers, fractions, or text, judged by every row.

The parser of polars reads a block with the types known so far. What it would take for a number although a person would not
(007, a card number of 16 digits), and what it refuses, is judged on the cells' text by the same rules as a first sample.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.data.sources.dialect import Dialect
from pipeline.data.sources.records import Records

if TYPE_CHECKING:
    import polars as pl

Written = Literal["whole", "fraction", "text"]
_WIDTH: dict[Written, int] = {"whole": 0, "fraction": 1, "text": 2}
_MOST = 10**15  # a whole number of 16 digits is a code, and float64 does not tell it from its neighbors
_WHOLE = r"^[+-]?[0-9]{1,15}$"
_FRACTION = r"^[+-]?(?:(?:[0-9]+[{mark}]?[0-9]*|[{mark}][0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))$"
_CODE = r"^[+-]?(?:0[0-9]+|[0-9]{16,})$"
_CODE_BYTES = re.compile(rb"[+-]?(?:0[0-9]+|[0-9]{16,})[\"' ]*$")


@dataclass(frozen=True)
class Parsed:
    """A block as a frame. infinite: column -> rows of cells that are no finite number, which are null in the frame."""

    frame: "pl.DataFrame"
    written: dict[str, Written]
    infinite: dict[str, list[int]] = field(default_factory=dict)


def wider(one: Written, other: Written) -> Written:
    """Return the narrower type that holds both."""
    return max(one, other, key=lambda written: _WIDTH[written])


def parse(records: Records, written: dict[str, Written], *, dialect: Dialect, missing: Sequence[str]) -> Parsed:
    """Return a block with types at least as wide as `written` (in the order of its columns), wider where a cell needs it."""
    import polars as pl

    try:
        frame = _read(records, written, dialect=dialect, missing=missing)
        trusted = not _codes(frame, records, written)
    except pl.exceptions.ComputeError:
        trusted = False
    if not trusted:
        frame = _read(records, dict.fromkeys(written, "text"), dialect=dialect, missing=())
    # cells that the parser did not compare with the words for missing values
    padded = records.padded([place for place, kind in enumerate(written.values()) if kind == "text"]) if trusted else set()
    found: dict[str, Written] = {}
    columns, infinite = [], {}
    for place, name in enumerate(written):
        series = frame.to_series(place)
        least = written[name]
        if series.dtype == pl.String:
            if not trusted or least != "text" or place in padded:
                series = _without_missing(series, missing)
            kind: Written = "text" if trusted and least == "text" else wider(least, narrowest(series, dialect.decimal))
            series = _converted(series, kind, dialect.decimal)
        else:
            kind = least
        if kind == "fraction" and (rows := _not_finite(series)):
            infinite[name] = rows
            series = series.set(~series.is_finite(), None)
        found[name] = kind
        columns.append(series)
    return Parsed(pl.DataFrame(columns), found, infinite)


def narrowest(series: "pl.Series", decimal: str) -> Written:
    """Return the narrowest type that holds every cell of a text column; of one without cells: whole."""
    cells = series.drop_nulls().str.strip_chars()
    if cells.str.contains(_CODE).any():
        return "text"
    if cells.str.contains(_WHOLE).all():
        return "whole"
    return "fraction" if cells.str.contains(_FRACTION.replace("{mark}", decimal)).all() else "text"


def _read(records: Records, written: dict[str, Written], *, dialect: Dialect, missing: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    types = {"whole": pl.Int64, "fraction": pl.Float64 if dialect.decimal == "." else pl.String, "text": pl.String}
    schema = {name: types[kind] for name, kind in written.items()}
    if not len(records):
        return pl.DataFrame(schema=schema)
    frame = pl.read_csv(
        records.data,
        has_header=False,
        schema=schema,
        separator=dialect.delimiter,
        quote_char=dialect.quote,
        null_values=records.words(missing),  # of all words it would compare each with each cell, a third of its time
    )
    assert frame.height == len(records), "polars and the index of records disagree"
    return frame


def _codes(frame: "pl.DataFrame", records: Records, written: dict[str, Written]) -> bool:
    """Return whether a number column has a cell that is no quantity: with leading zeros, or of more than 15 digits."""
    numbers = {place: kind for place, kind in enumerate(written.values()) if kind != "text"}
    if not len(records) or not numbers:
        return False
    for place, cells in records.zero_led(numbers).items():
        if numbers[place] == "whole" or any(_CODE_BYTES.match(cell) for cell in cells):
            return True
    for place, kind in numbers.items():
        series = frame.to_series(place)
        if not series.dtype.is_numeric() or (not _large(series.min()) and not _large(series.max())):
            continue
        large = (series.abs() >= _MOST).fill_null(value=False).arg_true()
        if kind == "whole" or any(_CODE_BYTES.match(records.cell(row, place).strip(b"\"' ")) for row in large):
            return True
    return False


def _not_finite(series: "pl.Series") -> list[int]:
    """Return the rows of cells that are NaN or infinite, which a sum tells sooner than a look at each."""
    if math.isfinite(series.sum()):
        return []
    return (~series.is_finite()).fill_null(value=False).arg_true().to_list()


def _large(number: object) -> bool:
    return isinstance(number, int | float) and abs(number) >= _MOST


def _without_missing(series: "pl.Series", missing: Sequence[str]) -> "pl.Series":
    return series.set(series.str.strip_chars().is_in(["", *missing]), None)


def _converted(series: "pl.Series", kind: Written, decimal: str) -> "pl.Series":
    import polars as pl

    if kind == "text":
        return series
    cells = series.str.strip_chars().str.strip_prefix("+")
    if kind == "whole":
        return cells.cast(pl.Int64)
    return (cells if decimal == "." else cells.str.replace(decimal, ".", literal=True)).cast(pl.Float64)
