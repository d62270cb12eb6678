"""Rows of Parquet files and of frames in memory; both are read lazily and never copied as a whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.data_sections import TableData
from pipeline.data.sources.conversions import converted
from pipeline.data.sources.header import check_names, check_same, check_target
from pipeline.data.table import Table
from pipeline.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_SUFFIXES = (".parquet", ".pq")
_KEYS = ("path", "validation_path", "test_path")


def open_parquet(section: TableData) -> Table:
    """Return the table of one Parquet file or a folder of shards, in the order of their names, and of the other splits' files.

    Raises DataError for what is no Parquet file, and for shards that differ in columns or in the sort of a column's values.
    """
    shards: list[Path] = []
    splits: list[int] = []
    for split, key in enumerate(_KEYS):
        if (path := getattr(section, key)) is not None:
            found = _shards(Path(path), f"data.{key}")
            shards += found
            splits += [split] * len(found)
    frames = [_scan(shard) for shard in shards]
    names = frames[0].collect_schema().names()
    check_names(names, place=str(shards[0]))
    check_target(names, section.target, origin=section.path)
    check_same(names, {str(shard): frame.collect_schema().names() for shard, frame in zip(shards, frames, strict=True)})
    types = _types(shards, frames)
    counts = [_rows(frame) for frame in frames]
    if not sum(count for count, split in zip(counts, splits, strict=True) if split == 0):
        raise DataError(f"{section.path}: no rows; rows are needed")
    starts = np.cumsum([0, *counts])

    def place(row: int) -> str:
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        return f"row {row}" if len(shards) == 1 else f"{shards[shard].name} row {row - int(starts[shard])}"

    import polars as pl

    given = np.repeat(splits, counts).astype(np.int8) if max(splits) else None
    whole = pl.concat([frame.select(pl.col(name).cast(dtype) for name, dtype in types.items()) for frame in frames])
    plain = converted(whole, place)
    lost = [
        finding.text for finding in plain.findings if finding.check == "unreadable_type" and finding.column in _names(section)
    ]
    if lost:
        raise DataError(*(f"{section.path}: data.target: {text.partition(';')[0]}; name another target" for text in lost))
    return Table(plain.frame, int(starts[-1]), section.path, place, given, plain.findings, plain.answers)


def from_frame(frame: "pl.DataFrame | pl.LazyFrame | Mapping[str, Any] | Any", origin: str) -> Table:
    """Return the table of a data frame of polars or pandas, or of a mapping from names to columns; `origin` names it.

    Raises DataError for columns of different lengths, of cells of several types, and for what is no frame.
    """
    import polars as pl

    match frame:
        case pl.LazyFrame():
            whole = frame
        case pl.DataFrame():
            whole = frame.lazy()
        case _:
            whole = _in_memory(_columns_of(frame, origin), origin).lazy()
    names = whole.collect_schema().names()
    check_names(names, place=origin)
    rows = _rows(whole)
    if not rows or not names:
        raise DataError(f"{origin}: no rows; rows are needed" if names else f"{origin}: no columns")

    def place(row: int) -> str:
        return f"row {row}"

    plain = converted(whole, place)
    return Table(plain.frame, rows, origin, place, findings=plain.findings, answers=plain.answers)


def _columns_of(frame: Any, origin: str) -> list[tuple[str, Any]]:
    """Return names and cells of a mapping, or of a frame of pandas (which this project does not import)."""
    if isinstance(frame, Mapping):
        return [(str(name), cells) for name, cells in frame.items()]
    if hasattr(frame, "columns") and hasattr(frame, "iloc"):
        return [(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)]
    raise DataError(f"{origin}: a data frame or a dict of columns is needed, got {type(frame).__name__}")


def _in_memory(columns: Sequence[tuple[str, Any]], origin: str) -> "pl.DataFrame":
    import polars as pl

    check_names([name for name, _ in columns], place=origin)
    faults, series = [], []
    for name, cells in columns:
        try:
            series.append(_series(name, cells))
        except Exception as error:  # whatever a user's objects raise
            faults.append(f"{origin}: column {name!r} has cells that make no column: {str(error).splitlines()[0]}")
    lengths = {len(one): one.name for one in series}
    if len(lengths) > 1:
        seen = ", ".join(f"{name!r} has {length:,}" for length, name in lengths.items())
        faults.append(f"{origin}: columns of different lengths: {seen} cells")
    if faults:
        raise DataError(*faults)
    return pl.DataFrame(series)


def _series(name: str, cells: Any) -> "pl.Series":
    import polars as pl

    if hasattr(cells, "iloc"):
        if str(cells.dtype) == "object":
            return pl.Series(name, [None if cell is None or cell != cell else cell for cell in cells])  # noqa: PLR0124  # NaN
        found: pl.Series = pl.from_pandas(cells)  # type: ignore[assignment]  # of a Series
        return found.alias(name)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "OU":
        return pl.Series(name, cells.tolist())
    return pl.Series(name, np.ascontiguousarray(cells) if isinstance(cells, np.ndarray) else cells)


def _names(section: TableData) -> tuple[str, ...]:
    return (section.target,) if isinstance(section.target, str) else section.target


def _shards(path: Path, key: str) -> list[Path]:
    if not path.exists():
        raise DataError(f"{key}: there is no file or folder {path}")
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            raise DataError(f"{key}: {path} is no .parquet file, as data.path is; files of all splits must be of one sort")
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))
    if not found:
        raise DataError(f"{key}: the folder {path} has no .parquet file")
    return found


def _scan(path: Path) -> "pl.LazyFrame":
    import polars as pl

    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    try:
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: no Parquet file, or a damaged one ({str(error).splitlines()[0]}); write it again") from None
    return frame


def _rows(frame: "pl.LazyFrame") -> int:
    import polars as pl

    return int(frame.select(pl.len()).collect(engine="streaming").item())


def _types(shards: Sequence[Path], frames: "Sequence[pl.LazyFrame]") -> "dict[str, pl.DataType]":
    """Return a type for each column that holds every shard's cells; raise DataError for each pair that none holds."""
    import polars as pl

    types = dict(frames[0].collect_schema())
    first = dict.fromkeys(types, shards[0])
    faults = []
    for shard, frame in zip(shards[1:], frames[1:], strict=True):
        for name, dtype in frame.collect_schema().items():
            old = types[name]
            if dtype in (old, pl.Null):
                continue
            if old == pl.Null:
                types[name], first[name] = dtype, shard
            elif old.is_integer() and dtype.is_integer():
                types[name] = pl.Int64() if pl.UInt64 not in (old, dtype) else pl.Int128()
            elif old.is_numeric() and dtype.is_numeric():
                types[name] = pl.Float64()
            elif _textual(old) and _textual(dtype):
                types[name] = pl.String()
            elif isinstance(old, pl.Datetime) and isinstance(dtype, pl.Datetime) and old.time_zone == dtype.time_zone:
                types[name] = pl.Datetime("us", old.time_zone)
            else:
                faults.append(f"{shard}: column {name!r} is {dtype}, and {old} in {first[name].name}; write both alike")
    if faults:
        raise DataError(*faults)
    return types


def _textual(dtype: "pl.DataType") -> bool:
    import polars as pl

    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)
