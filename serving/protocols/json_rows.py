"""Rows of Slipway's own JSON, decoded and checked against one schema.

    decoder = Decoder(schema)
    decoder.decode(b'{"inputs": [[1, 2], [3, 4]]}')     # (batch, *schema.shape) float32

The types are built from the schema, so msgspec refuses a wrong type, an infinite number or an unknown field while it parses,
and names the path of the offending value; its words are turned into ours here. A table of more than numbers takes cells as
people write them (serving.columns): a number, a text, true, or null for what is missing; a key that is absent is missing, too.
"""

import array
import re
import struct
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from serving.columns import TOO_LARGE, Encoder, Unfit
from serving.errors import BundleError, InvalidInput, TooLarge
from serving.facts import Limits
from serving.protocols import strict_json
from serving.protocols.rows import check_count, check_finite, check_lists
from serving.schema import Array, ColumnKind, Feature, Schema

_LONGEST_NAME = 100  # characters of a client's own key that an answer repeats

# How msgspec 0.22 puts it; each with " - at `$.path`" behind it when the value is not the body itself.
_WRONG_TYPE = re.compile(r"^Expected `(?P<expected>\w+)[^`]*`, got `(?P<got>\w+)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.(?P<path>records\[\d+\])`)?$", re.DOTALL)
_CELL = "bool | int | float | str | null"  # how msgspec calls the type of a cell
_PLACE = re.compile(r"^(?:inputs\[\d+\]\[(?P<index>\d+)\]|records\[\d+\]\.(?P<name>.*))$", re.DOTALL)
_NOT_SENT = msgspec.Raw()  # an unused column that a record does not have

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

    def __init__(self, schema: Schema, *, limits: Limits | None = None, encoder: Encoder | None = None) -> None:
        """Build the msgspec types that a body of this schema must have; raise BundleError for names that cannot be keys.

        encoder: the schema's, where there is one already; None: it is made here if the schema needs one.
        """
        self._schema, self._limits = schema, limits or Limits()
        self._encoder = None if schema.plain else encoder or Encoder(schema)
        self._most = self._limits.most_rows(schema)
        self._width = prod(schema.shape) if schema.features else 1  # values of a record; there are none without features
        # A row as it is sent: a date is one cell, which becomes two values.
        self._shape = schema.shape if self._encoder is None else (len(schema.features),)
        value: Any = float if self._encoder is None else bool | int | float | str | None
        row: Any = value
        for _ in self._shape:
            row = list[row]
        self._unused = [name for name in schema.unused if name.isprintable() and not set(name) & {'"', "\\"}]
        fields: list[tuple[str, Any, Any]] = [("inputs", list[row] | UnsetType, UNSET)]
        if schema.features:
            fields.append(("records", list[_record_of(schema.features, self._unused, value)] | UnsetType, UNSET))  # type: ignore[misc]
        body = msgspec.defstruct("Body", fields, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(body)
        self.usage = 'send {"inputs": [row, …]}' + (' or {"records": [{"feature": value, …}, …]}' if schema.features else "")

    def decode(self, body: bytes) -> Array:
        """Return (batch, *shape) float32; raise InvalidInput or TooLarge, with the path of what does not fit."""
        return self.read(body)[0]

    def read(self, body: bytes) -> tuple[Array, str]:
        """Return rows as `decode` does, and under which key they stood."""
        if len(body) > 2 * self._most:  # no row is shorter than two bytes
            field = "records" if b'"records"' in body[:99] else "inputs"
            strict_json.check_size(body, self._limits, width=self._width, field=field)
            check_lists(body, self._schema, self._limits, field)
        parsed = self._parsed(body)
        inputs: Any = parsed.inputs
        records: Any = getattr(parsed, "records", UNSET)
        keys = (inputs is not UNSET) + (records is not UNSET)
        if (inputs is UNSET) == (records is UNSET):
            wanted = "exactly one of `inputs` and `records`" if self._schema.features else "`inputs`"
            raise InvalidInput(f"the body must hold {wanted}: {self.usage}")
        if inputs is not UNSET:
            field, rows = "inputs", inputs
        else:
            field = "records"
            rows, within = self._cells(records)
            keys += within
        if not 0 < len(rows) <= self._most:
            check_count(len(rows), self._schema, self._limits, field)
        # As many keys as were understood: then there are no others, and so none twice.
        if not strict_json.has_keys(body, keys) and (fault := strict_json.repeated(body)):
            raise fault
        return (self._array(rows, field) if self._encoder is None else self._encoded(self._encoder, rows, field)), field

    def _parsed(self, body: bytes) -> Any:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._unfit(str(error)) from error
        except RecursionError:  # only within unused columns, which may hold anything
            raise strict_json.too_deep(self._limits, "records") from None
        except MemoryError:
            raise TooLarge("the body needs more memory than there is; send fewer rows in a request") from None
        except ValueError as error:  # msgspec.DecodeError, or UnicodeDecodeError out of a key
            nullable = any(feature.nullable for feature in self._schema.features)
            mend = "a missing value is null" if nullable else "leave such rows out or fill the values in"
            raise strict_json.malformed(body, error, usage=self.usage, mend=mend) from error

    def _cells(self, records: list[Any]) -> tuple[list[Any], int]:
        """Return the values of each record in the order of the features, and how many keys all records have."""
        features = self._schema.features
        count = len(features)
        rows = [msgspec.structs.astuple(record) for record in records]
        keys = len(rows) * count
        if self._unused:
            keys += sum(self._unused_keys(index, row[count:]) for index, row in enumerate(rows))
            rows = [row[:count] for row in rows]
        if self._encoder is not None:
            for index, row in enumerate(rows):
                if absent := row.count(UNSET):
                    keys -= absent
                    rows[index] = tuple(None if cell is UNSET else cell for cell in row)
        return rows, keys

    def _unused_keys(self, index: int, values: tuple[msgspec.Raw, ...]) -> int:
        """Return how many keys a record has beside its features, and those of objects in them."""
        keys = 0
        for name, value in zip(self._unused, values, strict=True):
            if value is not _NOT_SENT:
                content = bytes(value)
                strict_json.check_depth(content, self._limits, field=f"records[{index}].{name}")
                keys += 1
                if b"{" in content:
                    if fault := strict_json.repeated(content):
                        raise InvalidInput(str(fault), field=f"records[{index}].{name}.{fault.field}".replace(".[", "["))
                    keys += strict_json.keys_of(content)
        return keys

    def _encoded(self, encoder: Encoder, rows: list[Any], field: str) -> Array:
        if set(map(len, rows)) != {*self._shape}:
            raise _misfit(rows, self._shape, field)
        try:
            return encoder.encode(rows)
        except Unfit as error:
            name = self._schema.features[error.column].name
            path = f"inputs[{error.index}][{error.column}]" if field == "inputs" else f"{field}[{error.index}].{name}"
            raise InvalidInput(str(error), field=path) from error

    def _array(self, rows: list[Any], field: str) -> Array:
        """Return the numbers of nested lists, (batch, *shape). Faster than numpy, which asks each value what it is."""
        lists = rows
        for length in self._shape[:-1]:
            if set(map(len, lists)) != {length}:
                raise _misfit(rows, self._shape, field)
            lists = list(chain.from_iterable(lists))
        if set(map(len, lists)) != {self._shape[-1]}:
            raise _misfit(rows, self._shape, field)
        numbers = list(chain.from_iterable(lists))
        packed = bytearray(4 * len(numbers))  # unlike bytes, an array in it may be written to
        try:
            struct.pack_into(f"={len(numbers)}f", packed, 0, *numbers)  # "=": checked, unlike "@"
        except OverflowError:  # too large for 32 bits: refused with its place
            check_finite(np.array(array.array("f", numbers)).reshape(len(rows), *self._shape), self._schema, field)
            raise
        found: Array = np.frombuffer(packed, dtype=np.float32).reshape(len(rows), *self._shape)
        return found

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
                return InvalidInput(f"the body must be {expected}, got {got}; {self.usage}")
            return InvalidInput(f"expected {expected}, got {got}", field=path)
        return InvalidInput(TOO_LARGE if message.endswith(" out of range") else message, field=path or None)

    def _cell_at(self, path: str) -> str:
        """Say what a cell of the column at a path must be."""
        at = _PLACE.match(path)
        assert at is not None
        features = self._schema.features
        if at["index"] is not None:
            features = features[int(at["index"]) :][:1]
        else:
            features = tuple(feature for feature in features if feature.name == at["name"])
        return _CELLS[features[0].kind] if features else "a value"

    def _unknown(self, path: str | None, name: str) -> InvalidInput:
        shown = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
        if path:
            return InvalidInput("the model has no such feature; GET /info lists those that it has", field=f"{path}.{shown}")
        if name == "records" and self._schema.kind == "image":
            return InvalidInput(f"this model takes images, and those only through `inputs`: {self.usage}", field=shown)
        return InvalidInput(f"unknown key; {self.usage}", field=shown)


def _record_of(features: Sequence[Feature], unused: Sequence[str], value: Any) -> type[msgspec.Struct]:
    """Return the type of a record; raise BundleError for names that cannot be keys."""
    absent = (msgspec.NODEFAULT, UNSET)  # what an absent key gives: a fault, or a missing value
    columns: list[tuple[str, Any, Any]] = [
        (f"column_{i}", value | UnsetType if f.nullable else value, msgspec.field(name=f.name, default=absent[f.nullable]))
        for i, f in enumerate(features)
    ]
    columns += [(f"unused_{i}", msgspec.Raw, msgspec.field(name=name, default=_NOT_SENT)) for i, name in enumerate(unused)]
    try:
        return msgspec.defstruct("Record", columns, forbid_unknown_fields=True, kw_only=True)
    except ValueError as error:  # quotes, backslashes, control characters, or a name that is there twice
        raise BundleError(f"the schema's feature names cannot be served: {error}") from error


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
