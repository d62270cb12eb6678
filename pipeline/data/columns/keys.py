"""What a split goes by, for every row: a hash of its inputs, its target, its group or time."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.columns.canonical import input_keys, trimmed
from pipeline.data.columns.dates import date_formats
from pipeline.data.columns.encode import Encoder, as_request
from pipeline.data.columns.targets import encode_target, has_target
from pipeline.data.in_order import in_order
from pipeline.data.splitting.duplicates import MOST_ROWS
from pipeline.data.table import Columns, Table, Tell
from pipeline.errors import DataError
from serving.columns import parse_date

if TYPE_CHECKING:
    import polars as pl

_SPLIT_NAMES = {  # index into SPLITS
    "train": 0,
    "training": 0,
    "validation": 1,
    "valid": 1,
    "val": 1,
    "dev": 1,
    "test": 2,
    "testing": 2,
}


@dataclass(frozen=True)
class Keys:
    """One entry for each row of the source, in its order.

    hashes: (rows,) of all inputs. numbers: (rows, columns) float32, NaN where missing, and rest: (rows,) hash of what is no
    number; None where rows are too many to look for near-duplicates. targets: of the usable rows. usable: (rows,) whether the
    row has a target.
    """

    hashes: NDArray[np.uint64]
    numbers: NDArray[np.float32] | None
    rest: NDArray[np.uint64] | None
    targets: NDArray[Any]
    usable: NDArray[np.bool_]
    group: NDArray[np.uint64] | None = None
    order: NDArray[np.float64] | None = None
    given: NDArray[np.int8] | None = None


def table_keys(table: Table, columns: Columns, encoder: Encoder, section: PrepareConfig, tell: Tell) -> Keys:
    """Read the keys of a table's rows in one pass."""
    near = table.rows <= MOST_ROWS and section.near_duplicates > 0
    by_column = _by_column(table, section)

    def keys_of(numbered: "tuple[int, pl.DataFrame]") -> dict[str, NDArray[Any]]:
        start, chunk = numbered
        targets = chunk.select(columns.target.names)
        usable = has_target(targets, columns.target)
        found = input_keys(encoder, start, chunk, near=near) | {
            "usable": usable,
            "targets": encode_target(targets if usable.all() else targets.filter(usable), columns.target),
        }
        return found if by_column is None else found | {"by": by_column(start, chunk)}

    names = [*(column.name for column in columns.features), *columns.target.names]
    chunks = table.chunks(list(dict.fromkeys([*names, *([section.split_column] if section.split_column else [])])))
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    read = 0
    for found in in_order(keys_of, chunks):
        for key, part in found.items():
            parts[key].append(part)
        read += len(found["usable"])
        tell(read, table.rows)
    whole = {key: np.concatenate(parts.pop(key)) for key in list(parts)}
    by = whole.get("by")
    return Keys(
        hashes=whole["hashes"],
        numbers=whole.get("numbers"),
        rest=whole.get("rest"),
        targets=whole["targets"],
        usable=whole["usable"],
        group=by if section.split == "grouped" else None,
        order=by if section.split == "time" else None,
        given=by if section.split == "column" else table.given,
    )


def _by_column(table: Table, section: PrepareConfig) -> "Callable[[int, pl.DataFrame], NDArray[Any]] | None":
    """Return what reads the split column of a chunk as the split takes it: hashes of groups, times, or indices into SPLITS."""
    name = section.split_column
    if name is None:
        return None
    if section.split == "grouped":
        return lambda start, chunk: _groups(chunk[name], lambda row: table.place(start + row))
    if section.split == "time":
        date_format = _time_format(table, name)
        return lambda start, chunk: time_of(chunk[name], date_format, lambda row: table.place(start + row))
    return lambda start, chunk: _given(chunk[name], lambda row: table.place(start + row))


def _time_format(table: Table, name: str) -> str | None:
    """Return the format that the texts of the time column are in; None for ISO 8601, and for what is no text."""
    import polars as pl

    if table.frame.collect_schema()[name] != pl.String:
        return None
    texts = table.frame.select(pl.col(name).drop_nulls().alias("text"))
    counts = texts.group_by("text").agg(pl.len().alias("count")).sort("text").collect(engine="streaming")
    formats = date_formats(dict(counts.iter_rows()))
    return formats.formats[0] if formats else None


def _groups(cells: "pl.Series", place: Callable[[int], str]) -> NDArray[np.uint64]:
    missing = cells.is_null().to_numpy()
    if missing.any():
        raise DataError(
            f"data: {place(int(missing.argmax()))}: column {cells.name!r}, which groups rows, is missing; "
            "fill it in, or remove those rows"
        )
    return trimmed(cells).hash().to_numpy()


def _given(cells: "pl.Series", place: Callable[[int], str]) -> NDArray[np.int8]:
    names = [str(cell).strip().lower() for cell in cells.to_list()]
    for row, name in enumerate(names):
        if name not in _SPLIT_NAMES:
            raise DataError(
                f"data: {place(row)}: column {cells.name!r} is {cells[row]!r}; prepare.split=column needs "
                "train, validation or test in every row"
            )
    return np.array([_SPLIT_NAMES[name] for name in names], dtype=np.int8)


def time_of(cells: "pl.Series", date_format: str | None, place: Callable[[int], str]) -> NDArray[np.float64]:
    """Return the time of each cell as a number: its own, or seconds since 1970-01-01. date_format: of texts; None: ISO 8601."""
    import polars as pl

    if cells.is_null().any():
        row = int(cells.is_null().arg_max() or 0)
        raise DataError(
            f"data: {place(row)}: column {cells.name!r}, the time of a row, is missing; fill it in, or remove the row"
        )
    if cells.dtype.is_numeric():
        return cells.cast(pl.Float64).to_numpy()
    distinct = cells.unique().to_list()
    seconds = {}
    for cell in distinct:
        try:
            day, second = parse_date(str(as_request(cell)).strip(), date_format)
        except ValueError as error:
            raise DataError(
                f"data: {place(cells.to_list().index(cell))}: column {cells.name!r}, the time of a row: {error}"
            ) from error
        seconds[cell] = day * 86_400.0 + second
    return cells.replace_strict(distinct, [seconds[cell] for cell in distinct], return_dtype=pl.Float64).to_numpy()
