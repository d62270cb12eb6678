"""What is predicted: whether a target's values are classes, yes/no labels or numbers, and its values as training takes them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import DataTask
from pipeline.data.columns.facts import Facts, rows_where
from pipeline.data.columns.truths import meanings_of
from pipeline.data.findings import Finding
from pipeline.data.table import Table, Target
from pipeline.errors import DataError
from serving.columns import text_of

if TYPE_CHECKING:
    import polars as pl

_FEW = 20  # distinct integers that may be classes
_MOST_CLASSES = 1_000


def infer_target(table: Table, facts: Mapping[str, Facts], *, names: Sequence[str], task: DataTask) -> Target:
    """Return what the target columns are; raise DataError, with a line for each fault, for what nothing can be learned from."""
    columns = [facts[name] for name in names]
    faults = [fault for column in columns if (fault := _hopeless(column)) is not None]
    if faults:
        raise DataError(*(f"data: {fault}" for fault in faults))
    found = _task(columns) if task == "auto" else task
    if found == "multilabel":
        meanings = {column.name: _meanings(column) for column in columns}
        return Target(tuple(names), "multilabel", tuple(names), meanings)
    if found == "regression":
        for column in columns:
            _check_numbers(table, column)
        return Target(tuple(names), "regression")
    if len(columns) > 1:
        raise DataError(
            f"data: {len(columns)} targets ({', '.join(names)}) and task classification, which has one; "
            "name one as data.target, or set data.task=multilabel where each is yes or no"
        )
    return Target(tuple(names), "classification", _classes(columns[0]))


def missing_targets(table: Table, facts: Mapping[str, Facts], target: Target) -> list[Finding]:
    """Return a finding for each target column with missing cells: those rows are left out."""
    import polars as pl

    findings = []
    for name in target.names:
        if count := facts[name].missing:
            rows = rows_where(table, pl.col(name).is_null())
            more = f" and {count - len(rows):,} more" if count > len(rows) else ""
            text = f"target {name!r} is missing in {count:,} row{'s' * (count != 1)}: {', '.join(map(table.place, rows))}{more}"
            advice = "they are left out; fill them in if it is known"
            findings.append(
                Finding(check="target_missing", verdict="WARN", column=name, rows=tuple(rows), text=text, advice=advice)
            )
    return findings


def has_target(frame: "pl.DataFrame", target: Target) -> NDArray[np.bool_]:
    """Return for each row whether every target is there, (rows,)."""
    import polars as pl

    return frame.select(pl.all_horizontal(pl.col(target.names).is_not_null())).to_series().to_numpy()


def encode_target(frame: "pl.DataFrame", target: Target) -> NDArray[Any]:
    """Return (rows,) int64 classes; of numbers (rows,) or (rows, outputs) float32; of labels (rows, outputs) float32 0 and 1.

    Rows without a target must be gone. Raises DataError for numbers that 32 bits cannot hold.
    """
    import polars as pl

    if target.task == "classification":
        codes = {text: code for code, text in enumerate(target.classes)}
        return _replaced(frame[target.names[0]], codes, text_of).astype(np.int64)
    if target.task == "multilabel":
        columns = []
        for name in target.names:
            no, yes = target.meanings[name]
            columns.append(_replaced(frame[name], {no: 0, yes: 1}, lambda cell: text_of(cell).casefold()))
        return np.stack(columns, axis=1).astype(np.float32)
    wide = frame.select(pl.col(target.names).cast(pl.Float64)).to_numpy()
    with np.errstate(over="ignore"):
        numbers = wide.astype(np.float32)
    if not np.isfinite(numbers).all():
        row, place = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise DataError(
            f"data: target {target.names[place]!r} has {float(wide[row, place])!r}, which 32-bit floating point cannot hold; "
            "repair it, or give the target in a larger unit"
        )
    return numbers[:, 0] if len(target.names) == 1 else numbers


def _replaced(cells: "pl.Series", codes: Mapping[str, int], text: Any) -> NDArray[np.int64]:
    import polars as pl

    distinct = cells.unique().to_list()
    new = [codes[text(cell)] for cell in distinct]
    old = pl.Series(distinct, dtype=cells.dtype)
    return cells.replace_strict(old, pl.Series(new, dtype=pl.Int64)).to_numpy()


def _hopeless(column: Facts) -> str | None:
    if not column.present:
        return f"target {column.name!r} is missing in every row; name another as data.target"
    if column.dtype.is_temporal():
        return f"target {column.name!r} is a date, which nothing here predicts; give it as a number, such as days"
    seen = list(column.counts) if column.counts is not None else [column.minimum, column.maximum]
    if len({text_of(cell) for cell in seen}) == 1:
        return f"target {column.name!r} is {seen[0]!r} in every row; there is nothing to learn"
    return None


def _task(columns: Sequence[Facts]) -> DataTask:
    if len(columns) == 1:
        column = columns[0]
        if not column.dtype.is_numeric():
            return "classification"
        few = column.counts is not None and len(column.counts) <= _FEW and column.dtype.is_integer()
        counting = few and column.minimum in {0, 1} and column.maximum - column.minimum + 1 == column.distinct
        return "classification" if few and (counting or column.distinct <= 0.05 * column.rows) else "regression"
    truths = [column.name for column in columns if meanings_of(column) is not None]
    numbers = [column.name for column in columns if column.dtype.is_numeric()]
    if len(truths) == len(columns):
        return "multilabel"
    if len(numbers) == len(columns):
        return "regression"
    others = [column.name for column in columns if column.name not in {*truths, *numbers}]
    seen = ((truths, "yes or no"), (numbers, "numbers"), (others, "texts"))
    parts = [f"{', '.join(map(repr, names))}: {what}" for names, what in seen if names]
    raise DataError(f"data: targets of several sorts ({'; '.join(parts)}); name targets of one sort as data.target")


def _meanings(column: Facts) -> tuple[str, str]:
    found = meanings_of(column)
    if found is None:
        seen = ", ".join(repr(cell) for cell in list(column.counts or {})[:4]) or "fractions"
        raise DataError(f"data: target {column.name!r} has {seen}; a yes/no label has two values, such as yes and no")
    return found


def _check_numbers(table: Table, column: Facts) -> None:
    import polars as pl

    if column.dtype.is_numeric():
        return
    broken = pl.col(column.name).is_not_null()
    if column.text:
        broken &= pl.col(column.name).str.strip_chars().cast(pl.Float64, strict=False).is_null()
    rows = rows_where(table, broken, most=1)
    if rows or not column.text:
        cell = table.frame.select(column.name).slice(rows[0], 1).collect().item()
        raise DataError(
            f"data: {table.place(rows[0])}: target {column.name!r} is {cell!r}, which is no number, and data.task is "
            "regression; repair it, add the word to data.missing, or set data.task=classification"
        )


def _classes(column: Facts) -> tuple[str, ...]:
    if column.counts is None or column.distinct > _MOST_CLASSES * 20:
        labels = None
    else:
        labels = sorted({text_of(cell) for cell in column.counts})
    if labels is None or len(labels) > _MOST_CLASSES:
        count = f"about {column.distinct:,}" if labels is None else f"{len(labels):,}"
        raise DataError(
            f"data: target {column.name!r} has {count} classes, {_MOST_CLASSES:,} at most; merge rare ones, name another "
            "target, or set data.task=regression if it is a number"
        )
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(labels)
