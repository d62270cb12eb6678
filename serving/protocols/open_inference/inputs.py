"""From the tensors of a request to the model's rows: one tensor of whole rows, or one for each feature."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from serving.columns import Unfit
from serving.errors import InvalidInput
from serving.facts import ModelFacts
from serving.protocols.open_inference.ports import WHOLE, inputs_of
from serving.protocols.open_inference.tensors import (
    NUMBERS,
    Source,
    float32,
    numbers,
    refuse_datatype,
    sources_of,
    text_of,
    texts,
)
from serving.protocols.open_inference.wire import Tensor, shown
from serving.protocols.ranges import Place, columns_of, refuse_outside
from serving.protocols.rows import check_count
from serving.schema import Array, ColumnKind

_ACCEPTED: dict[ColumnKind, Sequence[str]] = {
    "number": NUMBERS,
    "boolean": ("BOOL", "BYTES"),
    "category": ("BYTES",),
    "date": ("BYTES",),
}


class Inputs:
    """Reads the rows of one model."""

    def __init__(self, facts: ModelFacts) -> None:
        """Take what the rows must be."""
        self._schema, self._limits, self._encoder = facts.schema, facts.limits, facts.encoder
        self._names = [feature.name for feature in facts.schema.features]
        self._ports = [port.name for port in inputs_of(facts.schema)]
        self._inner = list(facts.schema.shape)
        self._width = prod(facts.schema.shape)  # values of a row

    def rows(self, tensors: Sequence[Tensor], raw: memoryview) -> Array:
        """Return (batch, *schema.shape) float32; raise Refusal with a path. raw: what follows the JSON."""
        if not tensors:
            raise InvalidInput(f"must hold at least one tensor; this model takes {self._taken()}", field="inputs")
        sources = sources_of(tensors, raw)
        if self._encoder is None and len(tensors) == 1 and tensors[0].name == WHOLE:
            return self._whole(sources[0])
        ordered = self._ordered(sources)
        batch = self._batch_of(ordered)
        rows = self._plain(ordered, batch) if self._encoder is None else self._encoded(ordered, batch)
        if self._limits.strict:
            columns = columns_of(self._schema)
            refuse_outside(rows, self._schema, lambda row, position: ordered[columns[position]].place(row))
        return rows

    def single(self, body: bytes) -> Array:
        """Return the one row whose bytes are the whole body."""
        if len(self._ports) != 1:
            raise InvalidInput(f"a body of nothing but bytes is for models with one input; this one takes {self._taken()}")
        port = inputs_of(self._schema)[0]
        shape = [1, *port.shape[1:]]
        if port.datatype == "BYTES":  # the body is the element, without a length in front
            body = len(text_of(body, "inputs[0].data[0]").encode()).to_bytes(4, "little") + body
        tensor = Tensor(port.name, shape, port.datatype, {"binary_data_size": len(body)})
        return self.rows([tensor], memoryview(body))

    def _whole(self, source: Source) -> Array:
        refuse_datatype(source, NUMBERS)
        shape = source.tensor.shape
        if shape[1:] != self._inner or not shape or shape[0] < 1:
            raise InvalidInput(_misfit(shape, [-1, *self._inner]), field=f"{source.field}.shape")
        batch = shape[0]
        self._refuse_many(batch, source.field)
        rows = float32(source, batch * self._width).reshape(shape)
        if self._limits.strict:
            place: Place = lambda row, position: source.place(row * self._width + position)  # noqa: E731
            refuse_outside(rows, self._schema, place)
        return rows

    def _refuse_many(self, batch: int, field: str) -> None:
        check_count(batch, self._schema, self._limits, f"{field}.shape")

    def _ordered(self, sources: list[Source]) -> list[Source]:
        """Return a tensor for each feature, in the schema's order."""
        found: dict[str, Source] = {}
        for source in sources:
            name = source.tensor.name
            if name in found:
                raise InvalidInput(f"{shown(name)} is there twice", field=f"{source.field}.name")
            if name not in self._names:
                raise InvalidInput(
                    f"no input is called {shown(name)}; this model takes {self._taken()}", field=f"{source.field}.name"
                )
            found[name] = source
        missing = [name for name in self._names if name not in found]
        if missing:
            raise InvalidInput(f"{shown(missing[0])} is missing; this model takes {self._taken()}", field="inputs")
        return [found[name] for name in self._names]

    def _batch_of(self, ordered: list[Source]) -> int:
        batch = None
        for source in ordered:
            shape = source.tensor.shape
            if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)) or shape[0] < 1:
                raise InvalidInput(f"{_misfit(shape, [-1, 1])} or [-1]", field=f"{source.field}.shape")
            if batch is not None and shape[0] != batch:
                raise InvalidInput(f"{shape[0]} rows, where another input has {batch}", field=f"{source.field}.shape")
            batch = shape[0]
        assert batch is not None  # a table has features
        self._refuse_many(batch, ordered[0].field)
        return batch

    def _plain(self, ordered: list[Source], batch: int) -> Array:
        rows = np.empty((batch, self._width), dtype=np.float32)
        for column, source in enumerate(ordered):
            refuse_datatype(source, NUMBERS)
            rows[:, column] = float32(source, batch)
        return rows

    def _encoded(self, ordered: list[Source], batch: int) -> Array:
        assert self._encoder is not None
        cells: list[list[Any]] = []
        for feature, source in zip(self._schema.features, ordered, strict=True):
            refuse_datatype(source, _ACCEPTED[feature.kind])
            cells.append(_cells(source, batch))
        try:
            return self._encoder.encode(list(zip(*cells, strict=True)))
        except Unfit as error:
            raise InvalidInput(str(error), field=ordered[error.column].place(error.index)) from error

    def _taken(self) -> str:
        """Say which inputs there are, a few by name."""
        if self._encoder is None and not self._names:
            return f"`{WHOLE}`"
        named = ", ".join(shown(name) for name in self._names[:5]) + (", …" if len(self._names) > 5 else "")
        return f"`{WHOLE}`, or one for each feature: {named}" if self._encoder is None else f"one for each feature: {named}"


def _cells(source: Source, count: int) -> list[Any]:
    if source.tensor.datatype == "BYTES":
        return texts(source, count)
    values = numbers(source, count)
    return (values.astype(np.bool_) if source.tensor.datatype == "BOOL" else values).tolist()  # type: ignore[no-any-return]


def _misfit(shape: list[int], expected: list[int]) -> str:
    if any(length < 0 for length in shape):
        return f"{shown(shape)} has a negative length, which only metadata has; send the number of rows, as in {expected}"
    if shape and shape[0] == 0:
        return f"{shown(shape)} has no row; send at least one, in shape {expected}"
    return f"{shown(shape)} is not the shape that the model takes, {expected}"
