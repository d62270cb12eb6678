"""What TARGET means: one column, or several with commas between; told before a large file is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.config.data_sections import DataConfig, PythonData, TableData

S = TypeVar("S", TableData, PythonData)
_NAMES = {"\t": "tabs", " ": "spaces"}


def resolved(section: DataConfig, target: str | None, scratch: Path) -> tuple[DataConfig, str]:
    """Return the section of a table with its target's columns, and how a text file is written, in words.

    Raises DataError for a target that is no column. Other sections are returned as they are.
    """
    from pipeline.data.sources import PARQUET, open_source
    from pipeline.data.sources.text_begin import text_files
    from pipeline.data.table import Table

    if not isinstance(section, TableData):
        return section, ""
    blank = without_target(section)
    if not Path(section.path).is_dir() and Path(section.path).suffix.lower() not in PARQUET:
        (file,) = text_files(blank)
        between = _NAMES.get(file.dialect.delimiter, file.dialect.delimiter)
        written = f"cells between {between}" + (f", decimal {file.dialect.decimal}" if file.dialect.decimal != "." else "")
        written += f", {file.encoding}" if file.encoding != "utf-8" else ""
        return with_target(section, target, file.names) if target else section, written
    source = open_source(blank, scratch, tell=lambda _done, _total: None).source
    assert isinstance(source, Table)
    return with_target(section, target, source.frame.collect_schema().names()) if target else section, ""


def with_target(section: S, target: str, names: Sequence[str]) -> S:
    """Return the section with the columns that a target names; raise DataError for what is no column."""
    from pipeline.data.sources.header import check_target

    parts = tuple(part.strip() for part in target.split(",") if part.strip())
    wanted = target if target in names or len(parts) < 2 else parts
    check_target(names, wanted, origin=section.path if isinstance(section, TableData) else section.file)
    return type(section).model_validate(section.model_dump() | {"target": wanted})


def without_target(section: TableData) -> TableData:
    """Return the section with no target, to look at the columns before it is known."""
    return section.model_copy(update={"target": ()})
