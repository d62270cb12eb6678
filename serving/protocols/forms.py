"""Rows as other servers' clients lay them out, turned into numbers; shared by the protocols that take such forms.

    forms = Forms(model)
    forms.rows([[1, 2], [3, 4]], "instances")              # a row for each entry: arrays, or objects by feature name
    forms.columns({"a": [1, 3], "b": [2, 4]}, "inputs")    # an array for each feature
    forms.split(["b", "a"], [[2, 1], [4, 3]], "data")      # names once, then arrays

Each returns (batch, *schema.shape) float32. What does not fit raises InvalidInput with the path at which the client wrote it.
Features are matched by name in any order; columns in `schema.unused` are dropped; a value that is absent is missing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from serving.columns import TOO_LARGE, Unfit
from serving.errors import InvalidInput
from serving.facts import ModelFacts
from serving.protocols.ranges import columns_of, refuse_outside
from serving.protocols.rows import check_count
from serving.protocols.words import cut, shown
from serving.schema import Array, ColumnKind

_TOO_LARGE = float(2**128 - 2**103)  # the least number that 32-bit floating point rounds to infinity
_KINDS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    type(None): "null",
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
}
_WANTED: dict[ColumnKind, str] = {
    "number": "a number",
    "boolean": "true or false",
    "category": "a text, a number or a boolean",
    "date": "a date as a text",
}
_NO_FEATURE = "the model has no such feature; GET /info lists those that it has"

Place = Callable[[int, Sequence[int]], str]  # the row, and the way from it to a value -> the path as the client wrote it


class Forms:
    """The forms of rows that one model takes; made once for each model."""

    def __init__(self, model: ModelFacts) -> None:
        """Build the type of a row."""
        self.schema = model.schema
        self._limits, self._encoder = model.limits, model.encoder
        self._names = tuple(feature.name for feature in self.schema.features)
        self._known, self._unused = frozenset(self._names), frozenset(self.schema.unused)
        # A row as it is sent: a date is one cell, which becomes two values.
        self._shape = (len(self._names),) if self._names else self.schema.shape
        cell: Any = float if self._encoder is None else bool | int | float | str | None
        for length in reversed(self._shape):
            cell = Annotated[list[cell], msgspec.Meta(min_length=length, max_length=length)]
        self._type = list[cell]

    def rows(self, value: Any, path: str) -> Array:
        """Decode a list of rows: nested arrays, objects by feature name, or bare values where a row is a single one."""
        rows = self._listed(value, path)
        if isinstance(rows[0], dict):
            return self.records(rows, path)
        if self._shape == (1,):
            rows = [row if isinstance(row, list) else [row] for row in rows]

        def place(row: int, rest: Sequence[int]) -> str:
            return f"{path}[{row}]" + "".join(f"[{index}]" for index in rest)

        return self._array(rows, place)

    def records(self, value: Any, path: str) -> Array:
        """Decode a list of objects by feature name."""
        self.refuse_images(path)
        rows = []
        for index, record in enumerate(self._listed(value, path)):
            if not isinstance(record, dict):
                raise InvalidInput(f"expected an object, got {kind_of(record)}", field=f"{path}[{index}]")
            if record.keys() != self._known:
                self._check_names(record, f"{path}[{index}].")
            rows.append([record.get(name) for name in self._names])
        return self._array(rows, lambda row, rest: f"{path}[{row}]" + "".join(f".{self._names[index]}" for index in rest[:1]))

    def columns(self, value: dict[str, Any], path: str) -> Array:
        """Decode an object with an array for each feature, or with a bare value for each: one row."""
        self.refuse_images(path)
        self._check_names(value, f"{path}.")
        sent = [(name, value[name]) for name in self._names if name in value]
        if not any(isinstance(column, list) for _, column in sent):
            row = [value.get(name) for name in self._names]
            return self._array([row], lambda _, rest: path + "".join(f".{self._names[index]}" for index in rest[:1]))
        first, count = sent[0][0], 0
        for name, column in sent:
            if not isinstance(column, list):
                raise InvalidInput(f"expected a list with a value for each row, got {kind_of(column)}", field=f"{path}.{name}")
            count = len(column) if name == first else count
            if len(column) != count:
                raise InvalidInput(f"expected {count} values, as in {shown(first)}, got {len(column)}", field=f"{path}.{name}")
        check_count(count, self.schema, self._limits, path)
        rows = list(zip(*(value.get(name, [None] * count) for name in self._names), strict=True))
        return self._array(rows, lambda row, rest: f"{path}." + "".join(f"{self._names[index]}[{row}]" for index in rest[:1]))

    def split(self, names: list[str], data: Any, path: str) -> Array:
        """Decode a list of arrays whose columns are named, in any order.

        path: of the object that holds `columns` and `data`.
        """
        self.refuse_images(path)
        at = {name: position for position, name in enumerate(names)}
        self._check_names(at, f"{path}.columns: ")
        if len(at) != len(names):  # the last place of a name is known, so it is there again where another one is
            twice = next(name for position, name in enumerate(names) if at[name] != position)
            raise InvalidInput(f"{shown(twice)} is there twice", field=f"{path}.columns")
        rows = self._listed(data, f"{path}.data")
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                raise InvalidInput(f"expected a list, got {kind_of(row)}", field=f"{path}.data[{index}]")
            if len(row) != len(names):
                raise InvalidInput(
                    f"expected {len(names)} values, one for each of `columns`, got {len(row)}", field=f"{path}.data[{index}]"
                )
        order = [at.get(name) for name in self._names]

        def place(row: int, rest: Sequence[int]) -> str:
            return f"{path}.data[{row}]" + "".join(f"[{order[index]}]" for index in rest[:1])

        return self._array([[None if index is None else row[index] for index in order] for row in rows], place)

    def _array(self, rows: Sequence[Any], place: Place) -> Array:
        """Check every value and return the numbers."""
        try:
            cells = msgspec.convert(rows, self._type)
        except msgspec.ValidationError as error:
            message, row, rest = next(self._faults(rows))
            raise InvalidInput(message, field=place(row, rest)) from error
        if self._encoder is not None:
            try:
                return self._inside(self._encoder.encode(cells), place)
            except Unfit as error:
                raise InvalidInput(str(error), field=place(error.index, [error.column])) from error
        with np.errstate(over="ignore"):  # too large for float32 becomes inf, refused below
            array = np.array(cells, dtype=np.float32)
        if not np.isfinite(array).all():
            row, *rest = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InvalidInput(TOO_LARGE, field=place(row, rest))
        return self._inside(array, place)

    def _inside(self, rows: Array, place: Place) -> Array:
        """Return rows, which in strict mode must lie in the range of the train rows."""
        if self._limits.strict:
            columns = columns_of(self.schema)

            def path(row: int, position: int) -> str:
                rest = [columns[position]] if columns else [int(index) for index in np.unravel_index(position, self._shape)]
                return place(row, rest)

            refuse_outside(rows, self.schema, path)
        return rows

    def _faults(self, rows: Sequence[Any]) -> Iterator[tuple[str, int, list[int]]]:
        """Yield what is wrong, the row, and the way from it, in the order in which a reader meets it."""
        for index, row in enumerate(rows):
            stack: list[tuple[Any, list[int]]] = [(row, [])]
            while stack:
                value, way = stack.pop()
                if len(way) == len(self._shape):
                    if message := self._misfit(value, way):
                        yield message, index, way
                    continue
                length = self._shape[len(way)]
                if not isinstance(value, list | tuple):
                    yield f"expected a list of {length}, got {kind_of(value)}", index, way
                elif len(value) != length:
                    yield f"expected {length} values, got {len(value)}", index, way
                else:
                    stack += [(value[i], [*way, i]) for i in reversed(range(length))]

    def _misfit(self, value: Any, way: Sequence[int]) -> str | None:
        """Say why a value is no cell of its column, if so."""
        if self._encoder is not None:
            if not isinstance(value, list | dict):
                return None
            return f"expected {_WANTED[self.schema.features[way[0]].kind]}, got {kind_of(value)}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected a number, got {kind_of(value)}"
        return TOO_LARGE if abs(value) >= _TOO_LARGE else None

    def _listed(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidInput(f"expected a list of rows, got {kind_of(value)}", field=path)
        check_count(len(value), self.schema, self._limits, path)
        return value

    def _check_names(self, names: Iterable[str], path: str) -> None:
        """Refuse a name that the model does not know, and a feature that is absent where it must not."""
        for name in names:
            if name not in self._known and name not in self._unused:
                raise InvalidInput(_NO_FEATURE, field=path + cut(name))
        for feature in self.schema.features:
            if not feature.nullable and feature.name not in names:
                raise InvalidInput("required, but missing", field=path + feature.name)

    def refuse_images(self, path: str) -> None:
        """Raise InvalidInput where a form with named columns is sent to a model that takes images."""
        if not self._names:
            shape = " × ".join(str(length) for length in self._shape)
            raise InvalidInput(
                f"this model takes images, not columns: send arrays of {shape} numbers as `instances`", field=path
            )


def kind_of(value: Any) -> str:
    """Return what JSON calls a value."""
    return _KINDS.get(type(value), "a value")
