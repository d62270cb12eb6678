"""What rows of every format have in common: how the place of a value is written, and the checks that follow decoding.

place(schema, "records", 2, 0)                  # records[2].age
check_count(len(rows), schema, limits, "inputs")
check_finite(array, schema, "inputs")
"""

from math import prod

import numpy as np

from serving.columns import TOO_LARGE
from serving.errors import InvalidInput, TooLarge
from serving.facts import Limits
from serving.finite import all_finite
from serving.schema import Array, Schema

_LITTLE = 65_536  # bytes; the lists in so few take some MB at most, and are counted sooner once they are parsed
_OBJECTS, _LISTS, _KEYS = 2, 3, 8  # more than rows as arrays have around them in any protocol, the names of features left out


def place(schema: Schema, field: str, row: int, position: int) -> str:
    """Return the path of a value.

    field: `inputs`, whose rows are arrays, or the name of a list of records. position: in the row's numbers, flat; of a table's
    cell of two numbers, such as a date, either one.
    """
    if not schema.features:
        return f"{field}[{row}]" + "".join(f"[{index}]" for index in np.unravel_index(position, schema.shape))
    column = int(np.searchsorted(schema.starts, position, side="right")) - 1
    return f"{field}[{row}][{column}]" if field == "inputs" else f"{field}[{row}].{schema.features[column].name}"


def check_count(count: int, schema: Schema, limits: Limits, field: str) -> None:
    """Raise InvalidInput for no rows, TooLarge for more of them than one request may hold."""
    if not count:
        raise InvalidInput("must hold at least one row", field=field)
    most = limits.most_rows(schema)
    if count > most:
        raise TooLarge(
            f"{count:,} rows are more than the {most:,} that one request may hold; send fewer in a request",
            field=field,
        )


def check_lists(body: bytes, schema: Schema, limits: Limits, field: str | None = None) -> None:
    """Raise TooLarge for JSON of more lists than the rows of one request can be, before they are made.

    Only where it is certain: rows by name, and bodies with texts, are counted when they are parsed.
    """
    shape = (len(schema.features),) if schema.features else schema.shape
    lists = sum(prod(shape[:depth]) for depth in range(len(shape)))  # of a row
    most = limits.most_rows(schema)
    if len(body) <= max(_LITTLE, 2 * most) or body.count(b"{") > _OBJECTS:
        return
    if body.count(b"[") > most * lists + _LISTS and body.count(b'"') <= 2 * (len(schema.features) + _KEYS):
        raise TooLarge(f"the body holds more than the {most:,} rows that one request may hold; send fewer", field=field)


def check_finite(array: Array, schema: Schema, field: str) -> None:
    """Raise InvalidInput with the place of the first number that is not finite in 32 bits. array: (batch, *schema.shape)."""
    if not all_finite(array):
        row, position = np.argwhere(~np.isfinite(array).reshape(len(array), -1))[0].tolist()
        message = "is NaN, which is no number; send finite numbers" if np.isnan(array[row].flat[position]) else TOO_LARGE
        raise InvalidInput(message, field=place(schema, field, row, position))
