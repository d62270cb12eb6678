"""The kind of one column as the config declares it, checked against all of its cells."""

from typing import TYPE_CHECKING

from pipeline.config.data_sections import Kind
from pipeline.data.columns.dates import date_formats, is_date
from pipeline.data.columns.facts import NUMBER, Facts, rows_where
from pipeline.data.columns.kinds import Judged, column_of, distinct_texts, finding_of, looks_like_identifier, share_of, spelled
from pipeline.data.columns.truths import meanings_of
from pipeline.data.findings import Finding
from pipeline.data.table import Column, Table
from pipeline.errors import DataError
from serving.columns import fold, text_of

if TYPE_CHECKING:
    import polars as pl


def declared(table: Table, facts: Facts, kind: Kind) -> Judged:
    """Return a column of a declared kind; raise DataError, with place and value, for a cell that cannot be that."""
    import polars as pl

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


def _refuse(table: Table, facts: Facts, kind: Kind, unfit: "pl.Expr") -> None:
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
