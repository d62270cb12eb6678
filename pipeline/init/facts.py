"""What the first rows of a table say about each column: missing cells, different values, examples."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.data.table import Table

if TYPE_CHECKING:
    import polars as pl

LOOKED_AT = 100_000  # rows, for columns; the target is read whole
_EXAMPLES = 3
_LONGEST = 24  # characters of an example
_GROUPS = re.compile(
    r"(^|[_\W])(id|uuid|guid|group|user|customer|client|patient|subject|session|account|device|household|store|machine)s?($|[_\W])",
    re.IGNORECASE,
)
_REPEATS = 2.0  # rows for each value of a group, at least, on average
_FEWEST_GROUPS = 10


@dataclass(frozen=True)
class Fact:
    """One column. missing: share of rows. distinct: different values, of the rows that were looked at."""

    name: str
    type: str  # of polars, such as Float64
    missing: float
    distinct: int
    examples: tuple[str, ...]
    group: bool = False  # whether it looks like what rows belong to: a patient, a customer

    @property
    def words(self) -> str:
        """The fact for a comment: `3.1 % missing, 4 different: Bern, Zürich, Rom`."""
        parts = [f"{100 * self.missing:.2g} % missing"] * (self.missing > 0) + [f"{self.distinct:,} different"]
        return ", ".join(parts) + (f": {', '.join(self.examples)}" if self.examples else "")


@dataclass(frozen=True)
class TargetFact:
    """What is predicted: rows that have it; the rarest class as a share of the most frequent; skew and least of numbers."""

    rows: int
    rarest: float | None = None
    skew: float | None = None
    least: float | None = None


def facts_of(table: Table) -> list[Fact]:
    """Return a fact for each column, in the order of the table."""
    frame = table.frame.head(LOOKED_AT).collect()
    return [_fact(frame[name]) for name in frame.columns]


def _fact(column: "pl.Series") -> Fact:
    there = column.drop_nulls()
    distinct = there.n_unique()
    examples = tuple(_short(value) for value in there.unique(maintain_order=True).head(_EXAMPLES).to_list())
    whole = not column.dtype.is_float() and not column.dtype.is_temporal()
    repeated = distinct >= _FEWEST_GROUPS and len(there) >= _REPEATS * distinct
    return Fact(
        name=column.name,
        type=str(column.dtype),
        missing=column.null_count() / max(1, len(column)),
        distinct=distinct,
        examples=examples,
        group=whole and repeated and bool(_GROUPS.search(column.name)),
    )


def target_fact(table: Table, names: tuple[str, ...], *, numbers: bool) -> TargetFact:
    """Read the target's columns whole. numbers: whether it is a regression."""
    frame = table.frame.select(names).collect()
    rows = len(frame.drop_nulls())
    if numbers:
        columns = [frame[name].cast(float) for name in names]
        skew = max((_number(column.skew()) for column in columns), key=abs)
        # One normalization holds for all of them, so it is the least of all that counts.
        return TargetFact(rows, skew=skew, least=min(_number(column.min()) for column in columns))
    if len(names) > 1:
        return TargetFact(rows)
    counts = frame[names[0]].drop_nulls().alias("cell").value_counts()["count"].to_list()
    return TargetFact(rows, rarest=min(counts) / max(counts) if counts else None)


def _number(value: Any) -> float:
    return 0.0 if value is None else float(value)


def _short(value: Any) -> str:
    text = " ".join(f"{value:g}".split() if isinstance(value, float) else str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
