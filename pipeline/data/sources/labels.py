"""What an array of targets means: classes, several yes/no labels, or values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import DataTask
from pipeline.data.findings import Finding, some
from pipeline.errors import DataError
from serving.columns import text_of
from serving.schema import Task

_TEXT, _WHOLE, _REAL = "UST", "iu", "f"  # kinds of dtypes


@dataclass(frozen=True)
class Labels:
    """Targets as they are stored: (rows,) int64 indices into `classes`, (rows,) or (rows, outputs) float32.

    outputs: the names of several values; none where there is one.
    """

    values: NDArray[Any]
    task: Task
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def read_labels(values: NDArray[Any], task: DataTask, *, name: str, origin: str) -> Labels:
    """Return what targets mean. Whole numbers, booleans and texts are classes; numbers with fractions are values.

    values: (rows,), or (rows, outputs) of 0 and 1, which are yes/no labels, or of values. task: forces one reading. Raises
    DataError for targets that lack values, never change, or cannot be read as `task`.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    _check(values, name, origin)
    if values.ndim == 2:
        return _read_several(values, task, name=name, origin=origin)
    if task == "multilabel":
        raise DataError(
            f"data.task: multilabel needs targets of (rows, labels) with 0 and 1; {origin} has one {name!r} for each row"
        )
    if task == "regression" or (task == "auto" and values.dtype.kind in _REAL):
        return Labels(_as_float32(values, name, origin), "regression")
    return _read_classes(values, name=name, origin=origin)


def by_number(texts: Sequence[str]) -> list[str]:
    """Sort class labels: as numbers where all are whole numbers, else as text."""
    if all(text.lstrip("-").isdecimal() and text.isascii() for text in texts):
        return sorted(texts, key=lambda text: (int(text), text))
    return sorted(texts)


def _check(values: NDArray[Any], name: str, origin: str) -> None:
    """Raise DataError with what makes targets useless whatever they mean."""
    if values.ndim not in {1, 2} or values.shape[-1] == 0:
        raise DataError(
            f"data: targets of {origin} have the shape {values.shape}; give (rows,), or (rows, outputs) for several"
        )
    kind = values.dtype.kind
    if kind not in _TEXT + _WHOLE + _REAL + "b":
        raise DataError(f"data: targets of {origin} are of type {values.dtype}; give numbers, booleans or text")
    if kind in _TEXT:
        missing = np.flatnonzero(np.char.strip(_as_text(values)).reshape(len(values), -1) == "")
    else:
        with np.errstate(over="ignore"):
            missing = np.flatnonzero(~np.isfinite(values.astype(np.float32).reshape(len(values), -1)).all(axis=1))
    if len(missing):
        seen = "empty" if kind in _TEXT else "missing, infinite or beyond 32-bit floating point"
        raise DataError(
            f"data: target {name!r} of {origin} is {seen} in {len(missing):,} row(s): {some(missing.tolist())}; leave them out"
        )
    columns = (np.char.strip(_as_text(values)) if kind in _TEXT else values).reshape(len(values), -1)
    constant = [index for index in range(columns.shape[1]) if (columns[:, index] == columns[0, index]).all()]
    if constant:
        which = f"target {name!r}" if values.ndim == 1 else f"column {constant[0]} of target {name!r}"
        raise DataError(
            f"data: {which} of {origin} is {_shown(columns[0, constant[0]])} in every row, so there is nothing to learn; "
            + ("choose another target" if values.ndim == 1 else "leave it out")
        )


def _read_classes(values: NDArray[Any], *, name: str, origin: str) -> Labels:
    """Return classes: labels are sorted, whole numbers as numbers."""
    if values.dtype.kind in _REAL:
        fractions = np.flatnonzero(values != np.floor(values))
        if len(fractions):
            raise DataError(
                f"data.task: classification needs whole numbers, texts or booleans, and target {name!r} of {origin} is "
                f"{values[fractions[0]]} in row {fractions[0]:,}; set data.task to regression"
            )
    if values.dtype.kind in _TEXT:
        values = np.char.strip(_as_text(values))
    found, codes = np.unique(values, return_inverse=True)
    texts = [text_of(value) for value in found.tolist()]
    classes = by_number(texts)
    places = {text: place for place, text in enumerate(classes)}
    code_of = np.array([places[text] for text in texts], dtype=np.int64)
    return Labels(code_of[codes.reshape(-1)], "classification", tuple(classes))


def _read_several(values: NDArray[Any], task: DataTask, *, name: str, origin: str) -> Labels:
    """values: (rows, outputs)."""
    if values.dtype.kind in _TEXT:
        raise DataError(f"data: targets of {origin} are {values.shape[1]} texts for each row; give numbers, or one text a row")
    yes_no = bool(((values == 0) | (values == 1)).all())
    one_each = yes_no and bool((values.sum(axis=1) == 1).all())
    numbers = tuple(str(index) for index in range(values.shape[1]))
    if task == "classification":
        if not one_each:
            raise DataError(
                f"data.task: classification needs one label for each row; targets of {origin} have the shape {values.shape} "
                "and more, or less, than a single 1 in some row; set data.task to multilabel or regression"
            )
        return Labels(values.argmax(axis=1).astype(np.int64), "classification", numbers)
    if task == "multilabel" and not yes_no:
        raise DataError(
            f"data.task: multilabel needs targets of 0 and 1; those of {origin} have other values; set it to regression"
        )
    if task == "regression" or not yes_no:
        outputs = tuple(f"{name}_{number}" for number in numbers)
        return Labels(_as_float32(values, name, origin), "regression", outputs=outputs)
    return Labels(values.astype(np.float32), "multilabel", numbers, findings=(_ONE_EACH,) if one_each else ())


_ONE_EACH = Finding(
    check="one_each",
    verdict="WARN",
    text="each row of the targets has a single 1, so they look like classes rather than several labels",
    advice="set data.task to classification if a row has one class",
)


def _as_float32(values: NDArray[Any], name: str, origin: str) -> NDArray[np.float32]:
    if values.dtype.kind not in _TEXT:
        return values.astype(np.float32)
    raise DataError(
        f"data.task: regression needs numbers, and target {name!r} of {origin} is text, such as {_shown(values[0])} in row 0; "
        "set data.task to classification"
    )


def _as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    """Return texts that NumPy's string functions take; bytes are UTF-8."""
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values.astype(np.str_)


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
