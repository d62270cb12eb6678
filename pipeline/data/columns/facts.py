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
    """Return the facts of these columns: one pass over all, and one over each column of text with few distinct cells."""
    import polars as pl

    schema = table.frame.collect_schema()
    questions = [question for name in names for question in _questions(name, schema[name], table.rows)]
    answers = table.frame.select(questions).collect(engine="streaming").row(0, named=True)
    found = {}
    for name in names:
        own = {key.partition(" ")[0]: value for key, value in answers.items() if key.partition(" ")[2] == name}
        small = own["distinct"] <= LISTED and (schema[name].is_integer() or schema[name] in (pl.String, pl.Boolean))
        found[name] = Facts(name, schema[name], table.rows, **own, counts=_counts(table, name) if small else None)
    return found


def rows_where(table: Table, condition: "pl.Expr", *, most: int = 5) -> list[int]:
    """Return the numbers of the first rows for which a condition holds."""
    found = table.frame.with_row_index("").filter(condition).select("").head(most).collect(engine="streaming")
    return [int(row) for row in found.to_series()]


def _questions(name: str, dtype: "pl.DataType", rows: int) -> list["pl.Expr"]:
    import polars as pl

    column = pl.col(name)
    countable = not dtype.is_float() and dtype != pl.Boolean
    distinct = column.drop_nulls().n_unique() if rows <= EXACT_BELOW else column.approx_n_unique()
    asked = {"present": column.count(), "distinct": distinct if countable else pl.lit(2)}
    if dtype == pl.String:
        asked |= {
            "length": column.str.len_chars().mean().fill_null(0.0),
            "spaced": column.str.contains(r"\S\s+\S").sum(),
            "numeric": column.str.contains(NUMBER).sum(),
            "codes": column.str.contains(CODE).sum(),
        }
    else:
        asked |= {"minimum": column.min(), "maximum": column.max()}
    return [expression.alias(f"{key} {name}") for key, expression in asked.items()]


def _counts(table: Table, name: str) -> dict[Any, int]:
    import polars as pl

    counted = table.frame.filter(pl.col(name).is_not_null()).group_by(name).len().collect(engine="streaming")
    return {cell: int(count) for cell, count in sorted(counted.iter_rows(), key=lambda pair: (-pair[1], str(pair[0])))}
