"""A table on its way to disk: texts become codes, everything else stays raw."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Prepared
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.columns.encode import Encoder, learn_categories
from pipeline.data.columns.keys import Keys, table_keys
from pipeline.data.columns.requests import Requests
from pipeline.data.columns.statistics import Gathered, fit_table
from pipeline.data.flow import About
from pipeline.data.in_order import in_order
from pipeline.data.row_files import SplitFiles
from pipeline.data.table import Columns, Table, Tell
from pipeline.errors import DataError
from serving.files import write_atomic
from serving.schema import Schema

if TYPE_CHECKING:
    import polars as pl

_TRAIN, _VALIDATION = SPLITS.index("train"), SPLITS.index("validation")


@dataclass(frozen=True)
class _Chunk:
    """Some rows of the source. cells: as they came. parts: encoded, of each split. of_train: what its train rows say."""

    start: int
    cells: "pl.DataFrame"
    parts: list[NDArray[np.float32]]
    of_train: Gathered


class TableFlow:
    """Rows with named columns."""

    def __init__(self, table: Table, columns: Columns, section: PrepareConfig) -> None:
        """Take what was found out about the columns; raise DataError for columns that lack values where none may."""
        lacking = [repr(column.name) for column in columns.features if column.nullable]
        if section.missing == "refused" and lacking:
            raise DataError(
                f"data: {len(lacking)} column(s) of {table.origin} lack values, such as {', '.join(lacking[:5])}, and "
                "prepare.missing is refused; fill them in, leave the columns out (data.columns), or set prepare.missing=seen"
            )
        features = tuple(replace(column, nullable=_nullable(column.nullable, section)) for column in columns.features)
        self._table, self._columns, self._section = _with_numbers(table, columns), replace(columns, features=features), section
        self._encoder = Encoder.of(self._table, features)
        target = columns.target
        findings = (*table.findings, *columns.findings)
        self.about = About(table.origin, table.rows, target.task, target.classes, table.place, findings, columns.ignored)

    def keys(self, tell: Tell) -> Keys:
        """Return what the split goes by; one pass."""
        return table_keys(self._table, self._columns, self._encoder, self._section, tell)

    def write(self, assignment: NDArray[np.int8], out: Path, tell: Tell) -> tuple[Schema, dict[str, Any]]:
        """Learn from the train rows, encode all, and write them: two passes."""
        section, columns = self._section, self._columns
        train = assignment == _TRAIN
        categories = learn_categories(self._table, columns, train, rare_below=section.rare_below, most=section.most_categories)
        encoder = self._encoder.learned(categories)
        gathered, requests = Gathered(encoder.features), Requests(encoder.features, assignment)
        with SplitFiles(out, assignment, (encoder.width,)) as files:

            def encoded(chunk: "tuple[int, pl.DataFrame]") -> _Chunk:
                parts = files.parted(chunk[0], encoder.encode(*chunk))
                of_train = Gathered(encoder.features)
                of_train.add(parts[_TRAIN])
                return _Chunk(*chunk, parts, of_train)

            names = [feature.name for feature in encoder.features]
            for chunk in in_order(encoded, self._table.chunks(names)):
                files.append(chunk.parts)
                gathered.merge(chunk.of_train)
                requests.add(chunk.start, chunk.parts[_VALIDATION], chunk.cells)
                tell(chunk.start + len(chunk.cells), self._table.rows)
        write_atomic(out / Prepared.REQUESTS, msgspec.json.encode(requests.collected()))
        features = gathered.described()
        target = columns.target
        schema = Schema(
            task=target.task,
            kind="table",
            shape=(encoder.width,),
            target=", ".join(target.names),
            minimum=min((feature.minimum for feature in features), default=0.0),
            maximum=max((feature.maximum for feature in features), default=0.0),
            classes=target.classes,
            targets=target.names if target.task == "regression" and len(target.names) > 1 else (),
            features=features,
            unused=(*target.names, *columns.ignored),
        )
        return schema, fit_table(gathered, out / "train.inputs.npy", section)


def _nullable(lacks: bool, section: PrepareConfig) -> bool:
    return {"seen": lacks, "allowed": True, "refused": False}[section.missing]


def _with_numbers(table: Table, columns: Columns) -> Table:
    """Return a table in which columns that were declared numbers hold numbers, also where the file has texts such as 001."""
    import polars as pl

    held = table.frame.collect_schema()
    texts = [column.name for column in columns.features if column.kind == "number" and held[column.name] == pl.String]
    if not texts:
        return table
    return replace(table, frame=table.frame.with_columns(pl.col(texts).str.strip_chars().cast(pl.Float64)))
