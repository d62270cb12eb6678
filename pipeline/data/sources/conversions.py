"""Columns of any type that polars knows become those of a `Table`: numbers, booleans, dates and texts, missing cells null.

What no model here can read (lists, structures, bytes, durations) is left out, with a finding. One pass looks for what only the
cells can tell: NaN, infinite numbers, whole numbers too large for a float, texts of nothing but spaces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.data.findings import Finding

if TYPE_CHECKING:
    import polars as pl

_EXACT = 2**53  # whole numbers up to here are floats without loss
_YEARS = (1, 9999)  # that Python's dates, and ISO 8601 with four digits, can have


@dataclass(frozen=True)
class Converted:
    """A frame of Float64, Int64, Boolean, Date, Datetime and String columns; findings and answers as in a `Table`."""

    frame: "pl.LazyFrame"
    findings: tuple[Finding, ...]
    answers: dict[str, Any]


def converted(frame: "pl.LazyFrame", place: Callable[[int], str]) -> Converted:
    """Return a frame of columns that a `Table` may have, and what was found on the way."""
    import polars as pl

    schema = frame.collect_schema()
    findings = [_left_out(name, dtype) for name, dtype in schema.items() if not _readable(dtype)]
    kept = {name: dtype for name, dtype in schema.items() if _readable(dtype)}
    seen = _look(frame, kept)
    plain = frame.select(_column(name, dtype, seen) for name, dtype in kept.items())
    for name in kept:
        if seen.get(f"infinite {name}"):
            findings.append(_infinite(frame, name, place))
        if seen.get(f"large {name}"):
            text = f"column {name!r} has whole numbers beyond 2**53, which are not exact as numbers; they are taken as texts"
            advice = f"set data.columns.{name}=ignore if it is a key"
            findings.append(Finding(check="large_integers", verdict="WARN", column=name, text=text, advice=advice))
        if seen.get(f"distant {name}"):
            text = f"column {name!r} has dates outside of the years 1 to 9999; they are taken as missing"
            findings.append(Finding(check="distant_dates", verdict="WARN", column=name, text=text, advice="repair them"))
    changed = {name for name in kept if seen.get(f"infinite {name}") or seen.get(f"large {name}")}
    told = {f"{key} {name}" for key in ("present", "minimum", "maximum") for name in kept if name not in changed}
    answers = {key: answer for key, answer in seen.items() if key in told}
    return Converted(plain if kept else frame.select(pl.lit(None).alias("")).head(0), tuple(findings), answers)


def _readable(dtype: "pl.DataType") -> bool:
    import polars as pl

    return (
        dtype.is_numeric()
        or dtype in (pl.Boolean, pl.String, pl.Date, pl.Null)
        or isinstance(dtype, pl.Categorical | pl.Enum | pl.Datetime)
    )


def _left_out(name: str, dtype: "pl.DataType") -> Finding:
    text = f"column {name!r} is of type {dtype}, which no model reads; it is left out"
    return Finding(check="unreadable_type", verdict="WARN", column=name, text=text, advice="write its parts as columns")


def _look(frame: "pl.LazyFrame", schema: "dict[str, pl.DataType]") -> dict[str, Any]:
    """Return whether columns have cells of certain sorts, in one pass."""
    import polars as pl

    questions: dict[str, pl.Expr] = {}
    for name, dtype in schema.items():
        column = pl.col(name)
        if dtype.is_float():
            questions |= {f"nan {name}": column.is_nan().any(), f"infinite {name}": column.is_infinite().any()}
            questions |= {f"present {name}": column.count() - column.is_nan().sum()}
            questions |= {f"minimum {name}": column.min(), f"maximum {name}": column.max()}  # NaN is neither
        elif dtype in (pl.Int64, pl.UInt64, pl.Int128, pl.UInt128):
            questions |= {f"minimum {name}": column.min(), f"maximum {name}": column.max()}
            questions |= {f"large {name}": (column.max() > _EXACT) | (column.min() < -_EXACT)}
        elif dtype.is_temporal():
            questions |= {f"distant {name}": ~column.dt.year().is_between(*_YEARS).all()}
        elif dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
            text = column.cast(pl.String)
            spaces = text.filter((text < "!") | (text >= "\x80"))  # no other text begins with a space, of ASCII or beyond
            questions |= {f"blank {name}": (spaces.str.strip_chars() == "").any()}
    return frame.select(**questions).collect(engine="streaming").row(0, named=True) if questions else {}


def _column(name: str, dtype: "pl.DataType", seen: dict[str, Any]) -> "pl.Expr":
    import polars as pl

    column = pl.col(name)
    if dtype.is_float() or dtype.is_decimal():
        column = column.cast(pl.Float64)
        return pl.when(column.is_finite()).then(column) if seen.get(f"nan {name}") or seen.get(f"infinite {name}") else column
    if dtype.is_integer() or dtype == pl.Null:
        return column.cast(pl.String if seen.get(f"large {name}") else pl.Int64)
    if isinstance(dtype, pl.Datetime):
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else column
        column = column.cast(pl.Datetime("us"))
    if dtype.is_temporal() and seen.get(f"distant {name}"):
        return pl.when(column.dt.year().is_between(*_YEARS)).then(column)
    if dtype.is_temporal():
        return column
    if dtype == pl.Boolean:
        return column
    column = column.cast(pl.String)
    return pl.when(column.str.strip_chars() != "").then(column) if seen.get(f"blank {name}") else column


def _infinite(frame: "pl.LazyFrame", name: str, place: Callable[[int], str]) -> Finding:
    import polars as pl

    numbers = frame.select(pl.col(name).is_infinite().arg_true()).collect(engine="streaming").to_series()
    return not_finite(name, numbers.head(5).to_list(), len(numbers), place)


def not_finite(name: str, rows: list[int], count: int, place: Callable[[int], str]) -> Finding:
    """Return the finding of a column with infinite or NaN cells; rows: the first ones."""
    return Finding(
        check="not_finite",
        verdict="FAIL",
        column=name,
        rows=tuple(rows),
        text=f"column {name!r} has NaN or infinite values in {count:,} row{'s' * (count != 1)}: {', '.join(map(place, rows))}",
        advice="repair them, or leave the cells empty",
    )
