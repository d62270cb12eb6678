"""A table on its way to disk: texts become codes, everything else stays raw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Prepared
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.columns.encode import Encoder, learn_categories
from pipeline.data.columns.keys import Keys, table_keys
from pipeline.data.columns.requests import Requests
from pipeline.data.columns.statistics import Gathered, fit_table
from pipeline.data.flow import About, Tell
from pipeline.data.row_files import SplitFiles
from pipeline.data.table import Columns, Table
from serving.files import write_atomic
from serving.schema import Schema

_TRAIN = SPLITS.index("train")


class TableFlow:
    """Rows with named columns."""

    def __init__(self, table: Table, columns: Columns, section: PrepareConfig) -> None:
        """Take what was found out about the columns, before any row is split."""
        features = tuple(replace(column, nullable=_nullable(column.nullable, section)) for column in columns.features)
        self._table, self._columns, self._section = table, replace(columns, features=features), section
        target = columns.target
        findings = (*table.findings, *columns.findings)
        self.about = About(table.origin, table.rows, target.task, target.classes, table.place, findings, columns.ignored)

    def keys(self, tell: Tell) -> Keys:
        """Return what the split goes by; one pass."""
        return table_keys(self._table, self._columns, self._section, tell)

    def write(self, assignment: NDArray[np.int8], out: Path, tell: Tell) -> tuple[Schema, dict[str, Any]]:
        """Learn from the train rows, encode all, and write them: two passes."""
        section, columns = self._section, self._columns
        train = assignment == _TRAIN
        categories = learn_categories(self._table, columns, train, rare_below=section.rare_below, most=section.most_categories)
        encoder = Encoder.of(self._table, columns.features, categories)
        gathered, requests = Gathered(encoder.features), Requests(encoder.features, assignment)
        with SplitFiles(out, assignment, (encoder.width,)) as files:
            for start, rows, cells in encoder.chunks():
                files.write(start, rows)
                gathered.add(rows[train[start : start + len(rows)]])
                requests.add(start, rows, cells)
                tell(start + len(rows), self._table.rows)
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
