"""What `prepare` asks of a source: what a split goes by; then, once the train rows are known, every row as numbers on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns.keys import Keys
from pipeline.data.findings import Finding
from pipeline.data.table import Tell
from serving.schema import Schema, Task


@dataclass(frozen=True)
class About:
    """A source in words. place: number of a row -> where a person finds it. ignored: column -> why it is left out."""

    origin: str
    rows: int
    task: Task
    classes: tuple[str, ...]
    place: Callable[[int], str]
    findings: tuple[Finding, ...]
    ignored: dict[str, str]


class Flow(Protocol):
    """Rows of one source on their way to disk."""

    about: About

    def keys(self, tell: Tell) -> Keys:
        """Return what the split goes by."""

    def write(self, assignment: NDArray[np.int8], out: Path, tell: Tell) -> tuple[Schema, dict[str, Any]]:
        """Write each split's inputs below `out`; return the schema, and the statistics of the train rows' inputs.

        assignment: (rows,) index into SPLITS, -1 for rows that are left out.
        """
