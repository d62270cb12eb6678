"""Where rows come from: one file for each kind of source, and the one function that chooses among them.

opened = open_source(config.data, scratch, tell=progress)
opened.source      # a Table, whose columns are yet to be inferred, or Arrays, which say what they are
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config.data_sections import (
    ArraysData,
    BuiltinData,
    ColumnKind,
    DataConfig,
    DataTask,
    ImagesData,
    Names,
    OpenmlData,
    PythonData,
    TableData,
)
from pipeline.data.table import Arrays, Table, Tell
from pipeline.errors import DataError

PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Opened:
    """Rows, and what is known of a table's columns before they are looked at.

    target: names of the target's columns; of Arrays: what the target is called. task and kinds: as in the config, or what the
    source knows where the config says auto.
    """

    source: Table | Arrays
    target: tuple[str, ...]
    task: DataTask = "auto"
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)


def open_source(section: DataConfig, scratch: Path, *, tell: Tell) -> Opened:
    """Return the rows that a section names. scratch: an empty folder that lives as long as they do; `tell` hears of progress.

    Raises DataError, or another UserError, for what cannot be read.
    """
    match section:
        case BuiltinData():
            from pipeline.data.sources.builtin import open_builtin

            return open_builtin(section)
        case TableData():
            return Opened(_open_table(section, scratch, tell), names_of(section.target), section.task, section.columns)
        case OpenmlData():
            from pipeline.data.sources.openml import open_openml

            return open_openml(section)
        case ArraysData():
            from pipeline.data.sources.arrays import open_arrays

            return open_arrays(section)
        case ImagesData():
            from pipeline.data.sources.pictures import open_pictures

            pictures = open_pictures(section, scratch, tell=tell)
            return Opened(pictures, (pictures.target,), pictures.task)
        case PythonData():
            from pipeline.data.sources.python_file import open_python

            return open_python(section)


def files_of(section: DataConfig) -> list[Path]:
    """Return the files whose content the rows depend on, sorted, without reading them; those that are missing are named, too.

    A built-in set has none. One that is fetched has none, either: its content is pinned at the first fetch
    (pipeline.data.sources.downloads).
    """
    match section:
        case TableData():
            named = [Path(path) for path in (section.path, section.validation_path, section.test_path) if path is not None]
            return sorted(file for path in named for file in _data_files(path))
        case ArraysData():
            return sorted(Path(path) for path in (section.path, section.targets_path) if path is not None)
        case ImagesData():
            from pipeline.data.sources.picture_folders import pictures_below

            root = Path(section.path)
            pictures = [root / name for name in pictures_below(root).pictures] if root.is_dir() else [root]
            return sorted([*pictures, *([Path(section.labels)] if section.labels is not None else [])])
        case PythonData():
            return [Path(section.file)]
        case BuiltinData() | OpenmlData():
            return []


def names_of(target: Names) -> tuple[str, ...]:
    """Return the names of a target's columns, of which a config may write a single one as text."""
    return (target,) if isinstance(target, str) else target


def existing(path: str, key: str) -> Path:
    """Return the path of a file that is there; `key` names where it was written. Raises DataError."""
    found = Path(path)
    if found.is_dir():
        raise DataError(f"{key}: {path!r} is a folder; name a file")
    if not found.is_file():
        raise DataError(f"{key}: there is no file {path!r}; paths are relative to the folder of the command")
    return found


def _data_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [file for file in path.rglob("*") if file.suffix.lower() in PARQUET and not file.name.startswith(".")]


def _open_table(section: TableData, scratch: Path, tell: Tell) -> Table:
    if Path(section.path).is_dir() or Path(section.path).suffix.lower() in PARQUET:
        from pipeline.data.sources.parquet import open_parquet

        table = open_parquet(section)
    else:
        from pipeline.data.sources.text_files import open_text

        table = open_text(section, scratch, tell=tell)
    for index, path in enumerate((section.path, section.validation_path, section.test_path)):
        if path is not None and table.given is not None and not (table.given == index).any():
            raise DataError(f"{path}: no rows; name a file that has some, or leave this split out")
    return table
