"""A table that is read in passes, so that it need not fit into memory, and what its columns are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Split
from pipeline.data.findings import Finding
from serving.schema import ColumnKind, Feature, Task

if TYPE_CHECKING:
    import polars as pl

Tell = Callable[[int, int], None]  # (done, total), of rows, bytes or files
CHUNK_ROWS = 100_000  # in memory at a time


@dataclass(frozen=True)
class Table:
    """Rows in the order of their source.

    frame: a scan that gives the same rows in the same order each time; cells are Float64, Int64, Boolean, Date, Datetime or
    String, missing ones null (never NaN). origin: what messages call it. place: number of a row -> where a person finds it,
    such as "line 8". given: (rows,) the split of each row as an index into SPLITS, where each split is a file of its own.
    answers: "question column" -> what the source knows already of what `columns.facts` asks.
    """

    frame: "pl.LazyFrame"
    rows: int
    origin: str
    place: Callable[[int], str] = lambda row: f"row {row}"
    given: NDArray[np.int8] | None = None
    findings: tuple[Finding, ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)

    def chunks(self, columns: list[str]) -> Iterator[tuple[int, "pl.DataFrame"]]:
        """Yield (number of the first row, these columns) of CHUNK_ROWS rows at a time, in order; the last may be fewer.

        Where a chunk begins is the same each time and on each machine, and so are sums that are taken chunk by chunk.
        """
        rest, start = self.frame.select(columns).collect_schema().to_frame(), 0
        for batch in self.frame.select(columns).collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True, engine="streaming"):
            rest = rest.vstack(batch) if len(rest) else batch
            while len(rest) >= CHUNK_ROWS:
                yield start, rest.head(CHUNK_ROWS)
                rest, start = rest.slice(CHUNK_ROWS), start + CHUNK_ROWS
        if len(rest):
            yield start, rest


@dataclass(frozen=True)
class Column:
    """A feature before its categories are learned from the train rows: what does not depend on the split."""

    name: str
    kind: ColumnKind
    categories: tuple[str, ...] = ()  # of a boolean: the texts of false and true
    date_format: str | None = None
    nullable: bool = False

    def feature(self, *, minimum: float, maximum: float, categories: tuple[str, ...] = ()) -> Feature:
        """Return this column with what the train rows say of it."""
        return Feature(self.name, minimum, maximum, self.kind, categories or self.categories, self.date_format, self.nullable)


@dataclass(frozen=True)
class Target:
    """What is predicted. names: its columns. classes: labels in order, of classes or of yes/no columns; none for numbers."""

    names: tuple[str, ...]
    task: Task
    classes: tuple[str, ...] = ()
    meanings: dict[str, tuple[str, str]] = field(default_factory=dict)  # multilabel: texts of no and yes of each column


@dataclass(frozen=True)
class Columns:
    """What a table's columns are for. ignored: name -> why it is left out."""

    features: tuple[Column, ...]
    target: Target
    ignored: dict[str, str]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Arrays:
    """Rows that are arrays already, such as images; inputs: (rows, *shape), on disk or in memory.

    targets: (rows,) int64 classes, or float32 values, or (rows, outputs) float32. original: number of a row -> the bytes of its
    picture file, for sources of picture files.
    """

    inputs: NDArray[np.generic]
    targets: NDArray[np.generic]
    task: Task
    target: str
    origin: str
    classes: tuple[str, ...] = ()
    targets_names: tuple[str, ...] = ()
    picture: Literal["L", "RGB"] | None = None  # "L" or "RGB" of rows that were picture files
    original: Callable[[int], bytes] | None = None
    place: Callable[[int], str] = lambda row: f"row {row}"
    given: NDArray[np.int8] | None = None
    findings: tuple[Finding, ...] = ()


SplitRows = dict[Split, NDArray[np.int64]]  # numbers of the rows of each split, ascending
