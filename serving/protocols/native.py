"""Slipway's own JSON: `POST /predict`.

    {"inputs": [row, …]}                      rows as arrays, in the schema's shape
    {"records": [{"feature": value, …}, …]}   rows by feature name, tables only

The decoder is built from the schema, so msgspec refuses a wrong type, NaN, an infinite or an unknown field while it parses,
and names the path of the offending value.
"""

import re
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput
from serving.schema import Schema

Array = NDArray[np.float32]

_AT_PATH = re.compile(r"^(?P<message>.*?) - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<name>.*)`$")


class Decoder:
    """Parses request bodies for one schema."""

    def __init__(self, schema: Schema) -> None:
        """Build the msgspec types that a body of this schema must have."""
        self._schema = schema
        row: Any = float
        for _ in schema.shape:
            row = list[row]
        fields: list[tuple[str, Any, Any]] = [("inputs", list[row] | None, None)]
        if schema.features:
            columns = [(f"column_{i}", float, msgspec.field(name=f.name)) for i, f in enumerate(schema.features)]
            record = msgspec.defstruct("Record", columns, forbid_unknown_fields=True)
            fields.append(("records", list[record] | None, None))  # type: ignore[valid-type]  # built at run time
        body = msgspec.defstruct("Body", fields, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(body)

    def decode(self, body: bytes) -> Array:
        """Return (batch, *shape) float32; raise InvalidInput with the path of the first value that does not fit."""
        try:
            parsed: Any = self._decoder.decode(body)
        except msgspec.DecodeError as error:  # ValidationError is one of these
            raise _invalid(str(error)) from error
        except RecursionError as error:
            raise InvalidInput("the JSON is nested too deeply") from error
        inputs, records = parsed.inputs, getattr(parsed, "records", None)
        if (inputs is None) == (records is None):
            keys = "`inputs` or `records`" if self._schema.features else "`inputs`"
            raise InvalidInput(f"the body must hold {'exactly one of ' if self._schema.features else ''}{keys}")
        field = "inputs" if records is None else "records"
        rows = inputs if records is None else [msgspec.structs.astuple(record) for record in records]
        if not rows:
            raise InvalidInput("must hold at least one row", field=field)
        return self._array(rows, field)

    def _array(self, rows: list[Any], field: str) -> Array:
        with np.errstate(over="ignore"):  # too large for float32 becomes inf, refused below
            try:
                array = np.asarray(rows, dtype=np.float32)
            except ValueError:
                array = np.empty(0, dtype=np.float32)  # ragged
        if array.shape[1:] != self._schema.shape:
            raise _misfit(rows, self._schema.shape, field)
        if not np.isfinite(array).all():
            row, *rest = (int(index) for index in np.argwhere(~np.isfinite(array))[0])
            raise InvalidInput("the number does not fit into 32-bit floating point", field=self._path(field, row, rest))
        return array

    def _path(self, field: str, row: int, rest: list[int]) -> str:
        if field == "records":
            return f"records[{row}].{self._schema.features[rest[0]].name}"
        return f"{field}[{row}]" + "".join(f"[{index}]" for index in rest)


def encode(predictions: list[dict[str, Any]], model: dict[str, str]) -> bytes:
    """Return the JSON of an answer."""
    return msgspec.json.encode({"predictions": predictions, "model": model})


def _invalid(text: str) -> InvalidInput:
    """Turn msgspec's message, which ends in a JSON path, into ours."""
    match = _AT_PATH.match(text)
    message, path = (match["message"], match["path"]) if match else (text, "")
    missing = _MISSING.search(message)
    if missing:
        path = f"{path}.{missing['name']}" if path else missing["name"]
        message = "required, but missing"
    return InvalidInput(message[:1].lower() + message[1:] if message.startswith("Object") else message, field=path or None)


def _misfit(rows: list[Any], shape: tuple[int, ...], field: str) -> InvalidInput:
    """Name the first list whose length differs from the schema's."""
    stack = [(rows[i], shape, f"{field}[{i}]") for i in reversed(range(len(rows)))]
    while stack:
        values, expected, path = stack.pop()
        if len(values) != expected[0]:
            return InvalidInput(f"expected {expected[0]} values, got {len(values)}", field=path)
        if len(expected) > 1:
            stack += [(values[i], expected[1:], f"{path}[{i}]") for i in reversed(range(len(values)))]
    raise AssertionError("a row that fits was refused")
