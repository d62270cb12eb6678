"""Refusals: rows that no model can learn from are named before anything is trained."""

import numpy as np

from pipeline.data.sources import Rows
from pipeline.errors import DataError

_NAMED = 5


def check_rows(rows: Rows) -> None:
    """Raise DataError with one line for each fault of a source."""
    faults: list[str] = []
    if len(rows.inputs) == 0:
        raise DataError("data: the source has no rows")
    flat = rows.inputs.reshape(len(rows.inputs), -1)
    broken = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if broken.size:
        column = int(np.flatnonzero(~np.isfinite(flat[broken[0]]))[0])
        where = f"column {rows.features[column]!r}" if rows.features else f"value {column}"
        faults.append(
            f"data: {broken.size} row(s) hold NaN or infinite values: rows {_some(broken)}; "
            f"row {broken[0]} has {flat[broken[0], column]} in {where}; remove or repair them"
        )
    if not np.isfinite(rows.targets.astype(np.float64)).all():
        bad = np.flatnonzero(~np.isfinite(rows.targets.astype(np.float64)))
        faults.append(f"data: target {rows.target!r} is missing or infinite in rows {_some(bad)}; remove those rows")
    elif np.all(rows.targets == rows.targets[0]):
        faults.append(f"data: target {rows.target!r} is {rows.targets[0]} in every row; there is nothing to learn")
    faults += _names(rows.features)
    if faults:
        raise DataError(*faults)


def _names(features: tuple[str, ...]) -> list[str]:
    """Return a line for each column name that a client could not write, or that another column has, too."""
    unusable = [name for name in features if not name.isprintable() or set(name) & {'"', "\\"} or not name]
    twice = sorted({name for name in features if features.count(name) > 1})
    return [f"data: column name {name!r} has quotes, backslashes or control characters; rename it" for name in unusable] + [
        f"data: {features.count(name)} columns are called {name!r}; rename them" for name in twice
    ]


def _some(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_NAMED])
    return shown + (f" and {numbers.size - _NAMED} more" if numbers.size > _NAMED else "")
