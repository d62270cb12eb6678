"""Open what a path names, with the very functions that `prepare` opens it with, and learn what a config needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, get_args

import numpy as np

from pipeline.config.data_sections import DataConfig, PythonData, TableData
from pipeline.config.prepare_sections import CheckName
from pipeline.data.findings import Finding, enforced
from pipeline.data.table import Arrays, Columns, Table
from pipeline.errors import UserError
from pipeline.init.facts import Fact, TargetFact, facts_of, target_fact
from pipeline.init.naming import resolved, with_target, without_target
from pipeline.init.section import ANY_TARGET, section_for
from pipeline.init.targets import ask_for_target
from serving.schema import Task

if TYPE_CHECKING:
    from pipeline.data.sources import Opened

_SCRATCH = Path("data")


@dataclass(frozen=True)
class Look:
    """What a source turned out to be.

    columns, facts: of a table. shape: of one row of arrays, else nothing. written: how a text file is, in words.
    """

    section: DataConfig
    origin: str
    rows: int
    task: Task
    classes: tuple[str, ...]
    target: TargetFact
    findings: tuple[Finding, ...]
    columns: Columns | None = None
    facts: tuple[Fact, ...] = ()
    shape: tuple[int, ...] = ()
    written: str = ""


def look_at(path: Path, target: str | None) -> Look:
    """Return what a path holds; raise UserError, of one line for each fault, where no config could work."""
    from pipeline.data.sources import open_source

    section = section_for(path, target)
    with _scratch() as scratch:
        section, written = resolved(section, target, scratch)
        readable = without_target(section) if isinstance(section, TableData) and target is None else section
        opened = open_source(readable, scratch, tell=_untold)
        source = opened.source
        look = _table(section, opened, source, target) if isinstance(source, Table) else _arrays(section, source)
        look = replace(look, written=written)
    # What `prepare.allow` may name is for the user to weigh.
    return replace(look, findings=tuple(enforced(look.findings, get_args(CheckName))))


def _untold(_done: int, _total: int) -> None:
    """Take progress: reading is told of in lines."""


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a folder below data/, where there is room for large files; nothing of it stays."""
    new = not _SCRATCH.exists()
    _SCRATCH.mkdir(exist_ok=True)
    try:
        with TemporaryDirectory(dir=_SCRATCH, prefix="init-") as folder:
            yield Path(folder)
    finally:
        if new and not any(_SCRATCH.iterdir()):
            _SCRATCH.rmdir()


def _table(section: DataConfig, opened: "Opened", table: Table, target: str | None) -> Look:
    from pipeline.data.columns.inference import infer_columns
    from pipeline.data.sources import names_of

    names = table.frame.collect_schema().names()
    facts = tuple(facts_of(table))
    if isinstance(section, PythonData) and target is not None:
        section = with_target(section, target, names)
    if target is None and (isinstance(section, TableData) or (isinstance(section, PythonData) and ANY_TARGET not in names)):
        raise UserError(*ask_for_target(table.origin, facts))
    wanted = names_of(section.target) if isinstance(section, TableData | PythonData) else opened.target
    columns = infer_columns(table, target=wanted, task=opened.task, columns=opened.kinds, leave_out={})
    found = columns.target
    return Look(
        section=section,
        origin=table.origin,
        rows=table.rows,
        task=found.task,
        classes=found.classes,
        target=target_fact(table, found.names, numbers=found.task == "regression"),
        findings=(*table.findings, *columns.findings),
        columns=columns,
        facts=facts,
    )


def _arrays(section: DataConfig, arrays: Arrays) -> Look:
    values = np.asarray(arrays.targets)
    rarest = skew = least = None
    if arrays.task == "classification":
        counts = np.bincount(values, minlength=len(arrays.classes))
        rarest = float(counts.min() / max(1, counts.max()))
    elif arrays.task == "regression" and values.size and float(values.std()) > 0:
        wide = values.astype(np.float64)
        skew, least = float((((wide - wide.mean()) / wide.std()) ** 3).mean()), float(wide.min())
    return Look(
        section=section,
        origin=arrays.origin,
        rows=len(arrays.inputs),
        task=arrays.task,
        classes=arrays.classes,
        target=TargetFact(len(values), rarest=rarest, skew=skew, least=least),
        findings=arrays.findings,
        shape=tuple(arrays.inputs.shape[1:]),
    )
