"""The kind of one column as the config declares it, checked against all of its cells."""

from datetime import datetime
from typing import TYPE_CHECKING, cast

from pipeline.config.data_sections import ColumnKind, Kind
from pipeline.data.columns.dates import FORMATS, date_formats, fits, is_date
from pipeline.data.columns.facts import NUMBER, Facts, rows_where
from pipeline.data.columns.kinds import Judged, column_of, distinct_texts, finding_of, looks_like_identifier, share_of, spelled
from pipeline.data.columns.truths import meanings_of
from pipeline.data.findings import Finding
from pipeline.data.table import Column, Table
from pipeline.errors import DataError
from serving.columns import fold, text_of

if TYPE_CHECKING:
    import polars as pl


def declared(table: Table, facts: Facts, declared_kind: ColumnKind) -> Judged:
    """Return a column of a declared kind; raise DataError, with place and value, for a cell that cannot be that."""
    import polars as pl

    if declared_kind.startswith("date "):
        return Judged(_dated(table, facts, declared_kind.removeprefix("date ").strip()))
    kind = cast("Kind", declared_kind)
    names_rows = kind in {"number", "category"} and looks_like_identifier(facts)
    findings = (_identifier_used(facts, kind),) if names_rows else ()
    column = pl.col(facts.name)
    match kind:
        case "number" if not facts.dtype.is_numeric():
            number = column.str.contains(NUMBER) if facts.text else pl.lit(False)
            _refuse(table, facts, kind, column.is_not_null() & ~number)
        case "date" if not facts.dtype.is_temporal():
            return Judged(_declared_date(table, facts))
        case "boolean":
            return Judged(_declared_boolean(table, facts))
    return Judged(column_of(facts, kind), findings=findings)


def _declared_boolean(table: Table, facts: Facts) -> Column:
    """Return a column of two values; of an unknown pair, the one that sorts first is false."""
    import polars as pl

    meanings = meanings_of(facts)
    if meanings is None:
        texts = list(dict.fromkeys(fold(text_of(cell)) for cell in facts.counts or {}))
        if len(texts) != 2:
            two = texts[:2]
            column = pl.col(facts.name)
            odd = column.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(two)
            _refuse(table, facts, "boolean", column.is_not_null() & ~odd if texts else column.is_not_null())
            raise DataError(
                f"data: column {facts.name!r} has one value, and data.columns.{facts.name} is boolean; leave it out"
            )
        meanings = min(texts), max(texts)
    return column_of(facts, "boolean", categories=spelled(facts, meanings))


def _declared_date(table: Table, facts: Facts) -> Column:
    import polars as pl

    found = date_formats(distinct_texts(table, facts)) if facts.text else None
    taken = found.formats[0] if found else None
    _refuse(table, facts, "date", pl.col(facts.name).is_not_null() & (~is_date(facts.name, taken) if facts.text else True))
    return column_of(facts, "date", date_format=taken)


def _dated(table: Table, facts: Facts, date_format: str) -> Column:
    """Return a column of dates in a given format; cells that are dates already have none."""
    import polars as pl

    _check_format(facts.name, date_format)
    if facts.dtype.is_temporal():
        return column_of(facts, "date")
    column = pl.col(facts.name)
    if not facts.text:
        unfit = column.is_not_null()
    elif date_format in FORMATS:
        unfit = column.is_not_null() & ~is_date(facts.name, date_format)
    else:  # polars reads fewer formats than what answers requests
        texts = table.frame.select(column.drop_nulls().unique()).collect(engine="streaming").to_series()
        unfit = column.is_in([text for text in texts if not fits(text, date_format)])
    _refuse(table, facts, f"date {date_format}", unfit)
    return column_of(facts, "date", date_format=date_format)


def _check_format(name: str, date_format: str) -> None:
    """Raise DataError for a format that a date does not come back from."""
    day = datetime(2026, 11, 30)
    try:
        told = datetime.strptime(day.strftime(date_format), date_format).date() == day.date()
    except ValueError:
        told = False
    if not told:
        raise DataError(
            f"data.columns.{name}: {date_format!r} tells no day, month and year, or is no format of strptime; write it as in "
            "'date %d/%m/%Y' (%d day, %m month, %b its name, %Y year)"
        )


def _refuse(table: Table, facts: Facts, kind: str, unfit: "pl.Expr") -> None:
    if rows := rows_where(table, unfit, most=1):
        cell = table.frame.select(facts.name).slice(rows[0], 1).collect().item()
        raise DataError(
            f"data: {table.place(rows[0])}: column {facts.name!r} is {cell!r}, and data.columns.{facts.name} is {kind}; "
            "repair it, add the word to data.missing, or declare another kind"
        )


def _identifier_used(facts: Facts, kind: Kind) -> Finding:
    text = (
        f"column {facts.name!r} has another value in {share_of(facts)} rows, an identifier, and is declared a feature ({kind})"
    )
    return finding_of("identifier", "FAIL", facts, text, f"set data.columns.{facts.name}=ignore")
