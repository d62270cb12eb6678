"""What all rows say of each column, in as few passes as the questions need: the ground on which kinds are inferred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.data.table import Table

if TYPE_CHECKING:
    import polars as pl

LISTED = 20_000  # distinct values that are looked at one by one
EXACT_BELOW = 1_000_000  # rows: above, distinct values are estimated, since a set of all would fill the memory
NUMBER = r"^\s*[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?\s*$"
SPACED = r"\S\s+\S"
CODE = r"^\s*[+-]?(?:0[0-9]+|[0-9]{16,})\s*$"


@dataclass(frozen=True)
class Facts:
    """One column. present: cells that are not missing. distinct: different cells (an estimate in large tables).

    counts: how often each cell occurs, where there are few; None where they are too many. length: mean characters of a text.
    numeric and codes: texts that are written as numbers, and those of them with leading zeros or more than 15 digits.
    """

    name: str
    dtype: "pl.DataType"
    rows: int
    present: int
    distinct: int
    minimum: Any = None
    maximum: Any = None
    length: float = 0.0
    spaced: int = 0
    numeric: int = 0
    codes: int = 0
    counts: Mapping[Any, int] | None = None

    @property
    def missing(self) -> int:
        """Number of missing cells."""
        return self.rows - self.present

    @property
    def text(self) -> bool:
        """Whether cells are texts."""
        import polars as pl

        return self.dtype == pl.String


def gather(table: Table, names: Sequence[str]) -> dict[str, Facts]:
    """Return the facts of these columns: one pass over all, and one over each column with few distinct cells.

    What texts look like is asked of the distinct cells where they are few, else of all in one more pass.
    """
    import polars as pl

    schema = table.frame.collect_schema()
    answers = _answers(table, {name: _questions(name, schema[name], table.rows) for name in names})
    countable = [name for name in names if schema[name].is_integer() or schema[name] in (pl.String, pl.Boolean)]
    counts = {name: _counts(table, name) for name in countable if answers[name]["distinct"] <= LISTED}
    texts = [name for name in names if schema[name] == pl.String]
    looks = _answers(table, {name: _looks(name) for name in texts if name not in counts})
    looks |= {name: _looks_of(counts[name]) for name in texts if name in counts}
    return {
        name: Facts(name, schema[name], table.rows, **answers[name], **looks.get(name, {}), counts=counts.get(name))
        for name in names
    }


def rows_where(table: Table, condition: "pl.Expr", *, most: int = 5) -> list[int]:
    """Return the numbers of the first rows for which a condition holds."""
    found = table.frame.with_row_index("").filter(condition).select("").head(most).collect(engine="streaming")
    return [int(row) for row in found.to_series()]


def _answers(table: Table, questions: "Mapping[str, Mapping[str, pl.Expr]]") -> dict[str, dict[str, Any]]:
    """Return column -> question -> answer, in one pass over what the source has not told already."""
    told = table.answers
    asked = [
        expression.alias(f"{key} {name}")
        for name, own in questions.items()
        for key, expression in own.items()
        if f"{key} {name}" not in told
    ]
    found = table.frame.select(asked).collect(engine="streaming").row(0, named=True) if asked else {}
    return {name: {key: {**told, **found}[f"{key} {name}"] for key in own} for name, own in questions.items()}


def _questions(name: str, dtype: "pl.DataType", rows: int) -> "dict[str, pl.Expr]":
    import polars as pl

    column = pl.col(name)
    distinct = column.drop_nulls().n_unique() if rows <= EXACT_BELOW else column.approx_n_unique()
    countable = not dtype.is_float() and dtype != pl.Boolean
    asked = {"present": column.count(), "distinct": distinct if countable else pl.lit(2)}
    return asked if dtype == pl.String else asked | {"minimum": column.min(), "maximum": column.max()}


def _looks(name: str) -> "dict[str, pl.Expr]":
    """Return what is asked of texts."""
    import polars as pl

    column = pl.col(name)
    return {
        "length": column.str.len_chars().mean().fill_null(0.0),
        "spaced": column.str.contains(SPACED).sum(),
        "numeric": column.str.contains(NUMBER).sum(),
        "codes": column.str.contains(CODE).sum(),
    }


def _looks_of(counts: Mapping[str, int]) -> dict[str, Any]:
    """Answer the same from how often each text occurs."""
    import polars as pl

    frame = pl.DataFrame({"cell": list(counts), "rows": list(counts.values())}, schema={"cell": pl.String, "rows": pl.Int64})
    cell, rows = pl.col("cell").str, pl.col("rows")
    found = frame.select(
        length=(cell.len_chars() * rows).sum() / rows.sum(),
        spaced=rows.filter(cell.contains(SPACED)).sum(),
        numeric=rows.filter(cell.contains(NUMBER)).sum(),
        codes=rows.filter(cell.contains(CODE)).sum(),
    )
    return found.fill_nan(0.0).row(0, named=True)


def _counts(table: Table, name: str) -> dict[Any, int]:
    import polars as pl

    counted = table.frame.filter(pl.col(name).is_not_null()).group_by(name).len(name="").collect(engine="streaming")
    return {cell: int(count) for cell, count in sorted(counted.iter_rows(), key=lambda pair: (-pair[1], str(pair[0])))}
