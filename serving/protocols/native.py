"""Slipway's own JSON: `POST /predict`.

    {"inputs": [row, …]}                      rows as arrays, in the schema's shape
    {"records": [{"feature": value, …}, …]}   rows by feature name, tables only

The decoder is built from the schema, so msgspec refuses a wrong type, NaN, an infinite or an unknown field while it parses,
and names the path of the offending value. Its words are turned into ours here. A table of more than numbers takes cells as
people write them (serving.columns): a number, a text, true, or null for what is missing; a key that is absent is missing, too.
"""

import re
from typing import Any

import msgspec
import numpy as np

from serving.columns import TOO_LARGE, Encoder, Unfit
from serving.errors import BundleError, InvalidInput
from serving.schema import Array, ColumnKind, Schema

_LONGEST_NAME = 100  # characters of a client's own key that an answer repeats

# How msgspec 0.22 puts it; each with " - at `$.path`" behind it when the value is not the body itself.
_WRONG_TYPE = re.compile(r"^Expected `(?P<expected>\w+)[^`]*`, got `(?P<got>\w+)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.(?P<path>records\[\d+\])`)?$", re.DOTALL)
_CELL = "bool | int | float | str | null"  # how msgspec calls the type of a cell
_PLACE = re.compile(r"^(?:inputs\[\d+\]\[(?P<index>\d+)\]|records\[\d+\]\.(?P<name>.*))$", re.DOTALL)
_BAD_BYTE = re.compile(r"\(byte (?P<position>\d+)\)$")
_NOT_A_NUMBER = re.compile(rb"NaN|Infinity")

_KINDS = {
    "float": "a number",
    "int": "a number",
    "str": "a string",
    "bool": "a boolean",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_CELLS: dict[ColumnKind, str] = {
    "number": "a number",
    "boolean": "true or false",
    "category": "a text, a number or a boolean",
    "date": "a date as a text",
}


class Decoder:
    """Parses request bodies for one schema."""

    def __init__(self, schema: Schema) -> None:
        """Build the msgspec types that a body of this schema must have; raise BundleError for names that cannot be keys."""
        self._schema = schema
        self._encoder = None if schema.plain else Encoder(schema)
        value: Any = float if self._encoder is None else bool | int | float | str | None
        row: Any = value
        for _ in schema.shape:
            row = list[row]
        fields: list[tuple[str, Any, Any]] = [("inputs", list[row] | None, None)]
        if schema.features:
            absent = (msgspec.NODEFAULT, None)  # what an absent key gives: a fault, or a missing value
            columns: list[tuple[str, Any, Any]] = [
                (f"column_{i}", value, msgspec.field(name=f.name, default=absent[f.nullable]))
                for i, f in enumerate(schema.features)
            ]
            unused = (name for name in schema.unused if name.isprintable() and not set(name) & {'"', "\\"})
            columns += [
                (f"unused_{i}", msgspec.Raw, msgspec.field(name=name, default=msgspec.Raw())) for i, name in enumerate(unused)
            ]
            try:
                record = msgspec.defstruct("Record", columns, forbid_unknown_fields=True, kw_only=True)
            except ValueError as error:  # quotes, backslashes, control characters, or a name that is there twice
                raise BundleError(f"the schema's feature names cannot be served: {error}") from error
            fields.append(("records", list[record] | None, None))  # type: ignore[valid-type]  # built at run time
        body = msgspec.defstruct("Body", fields, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(body)
        self._usage = 'send {"inputs": [row, …]}' + (' or {"records": [{"feature": value, …}, …]}' if schema.features else "")

    def decode(self, body: bytes) -> Array:
        """Return (batch, *shape) float32; raise InvalidInput with the path of the first value that does not fit."""
        try:
            parsed: Any = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._unfit(str(error)) from error
        except ValueError as error:  # msgspec.DecodeError, or UnicodeDecodeError out of a key
            raise InvalidInput(self._not_json(body, str(error))) from error
        inputs, records = parsed.inputs, getattr(parsed, "records", None)
        if (inputs is None) == (records is None):
            keys = "exactly one of `inputs` and `records`" if self._schema.features else "`inputs`"
            raise InvalidInput(f"the body must hold {keys}: {self._usage}")
        field = "inputs" if records is None else "records"
        rows = inputs if records is None else self._cells(records)
        if not rows:
            raise InvalidInput("must hold at least one row", field=field)
        return self._array(rows, field) if self._encoder is None else self._encoded(self._encoder, rows, field)

    def _cells(self, records: list[Any]) -> list[Any]:
        """Return the values of each record in the order of the features, without those of unused columns."""
        count = len(self._schema.features)
        if not self._schema.unused:
            return [msgspec.structs.astuple(record) for record in records]
        return [msgspec.structs.astuple(record)[:count] for record in records]

    def _encoded(self, encoder: Encoder, rows: list[Any], field: str) -> Array:
        count = len(self._schema.features)
        if any(len(row) != count for row in rows):
            raise _misfit(rows, (count,), field)
        try:
            return encoder.encode(rows)
        except Unfit as error:
            raise InvalidInput(str(error), field=self._path(field, error.index, [error.column])) from error

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
            raise InvalidInput(TOO_LARGE, field=self._path(field, row, rest))
        return array

    def _path(self, field: str, row: int, rest: list[int]) -> str:
        if field == "records":
            return f"records[{row}].{self._schema.features[rest[0]].name}"
        return f"{field}[{row}]" + "".join(f"[{index}]" for index in rest)

    def _unfit(self, text: str) -> InvalidInput:
        """Turn msgspec's message about a value, which may end in a JSON path, into ours."""
        if match := _UNKNOWN.match(text):
            return self._unknown(match["path"], match["name"])
        message, separator, path = text.rpartition(" - at `$")
        if not separator:
            message, path = text, ""
        path = path.removesuffix("`").removeprefix(".")
        if match := _MISSING.match(message):
            return InvalidInput("required, but missing", field=f"{path}.{match['name']}")
        if match := _WRONG_TYPE.match(message):
            got = _KINDS[match["got"]]
            if _CELL in message:
                return InvalidInput(f"expected {self._cell_at(path)}, got {got}", field=path)
            expected = _KINDS[match["expected"]]
            if not path:
                return InvalidInput(f"the body must be {expected}, got {got}; {self._usage}")
            return InvalidInput(f"expected {expected}, got {got}", field=path)
        return InvalidInput(TOO_LARGE if message.endswith(" out of range") else message, field=path or None)

    def _cell_at(self, path: str) -> str:
        """Say what a cell of the column at a path must be."""
        place = _PLACE.match(path)
        assert place is not None
        features = self._schema.features
        if place["index"] is not None:
            features = features[int(place["index"]) :][:1]
        else:
            features = tuple(feature for feature in features if feature.name == place["name"])
        return _CELLS[features[0].kind] if features else "a value"

    def _unknown(self, path: str | None, name: str) -> InvalidInput:
        shown = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
        if path:
            return InvalidInput("the model has no such feature; GET /info lists those that it has", field=f"{path}.{shown}")
        if name == "records" and self._schema.kind == "image":
            return InvalidInput(f"this model takes images, and those only through `inputs`: {self._usage}", field=shown)
        return InvalidInput(f"unknown key; {self._usage}", field=shown)

    def _not_json(self, body: bytes, reason: str) -> str:
        """Say why a body is not JSON, in the words of somebody who sent it by mistake."""
        if not body.strip():
            return f"the body is empty; {self._usage}"
        if body.startswith(b"\xef\xbb\xbf"):
            return "the body starts with a byte order mark; send UTF-8 without one"
        try:
            body.decode()
        except UnicodeDecodeError as error:
            return f"the body is not UTF-8 (byte {error.start}); send JSON in UTF-8"
        at = _BAD_BYTE.search(reason)
        if at and _NOT_A_NUMBER.match(body, int(at["position"])):
            nullable = any(feature.nullable for feature in self._schema.features)
            mend = "a missing value is null" if nullable else "leave such rows out or fill the values in"
            return f"JSON has neither NaN nor Infinity (byte {at['position']}); {mend}"
        reason = reason.removeprefix("JSON is malformed: ")
        return f"the body is not JSON: {reason[:1].lower()}{reason[1:]}"


def encode(predictions: list[dict[str, Any]], model: dict[str, str]) -> bytes:
    """Return the JSON of an answer."""
    return msgspec.json.encode({"predictions": predictions, "model": model})


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
