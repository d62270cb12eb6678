"""Rows as CSV, the way a spreadsheet or pandas' `to_csv(index=False)` writes them.

    age,body mass,city
    30,22.5,Bern
    ,"1e1","Zürich, old town"

The first line names the features, in any order; columns that the model does not take may be there if the data had them, and
those that may be missing may be left out. A cell is what it would be in a record: an empty one is missing, 30 is a number in a
column of numbers and a text in a column of categories. In the latter, 3.0 is the category 3, as in a record, unless the data
had the text "3.0". UTF-8, with or without byte order mark; commas; empty lines at the end are passed over.
"""

import csv
import io
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from serving.columns import Encoder, Unfit
from serving.errors import InvalidInput, TooLarge, UnsupportedMedia
from serving.facts import ModelFacts
from serving.protocols.rows import check_count, check_finite
from serving.schema import Array, ColumnKind, Feature, Schema

FIELD = "rows"  # the first part of a cell's place, as in rows[3].age: row 0 is the line below the header

_LONGEST = 60  # characters of a client's own text that a message repeats
_NUMBER = re.compile(r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_FRACTION = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]*+|(?=[eE]))(?:[eE][+-]?[0-9]{1,3})?")


def rows_of_csv(body: bytes, model: ModelFacts) -> Array:
    """Return (rows, *schema.shape) float32.

    Raises UnsupportedMedia for a model of images, TooLarge for too many values, InvalidInput with the place of the first cell
    that does not fit.
    """
    schema, limits = model.schema, model.limits
    if not schema.features:
        raise UnsupportedMedia("this model takes images, which are not sent as text/csv; GET /info describes a row")
    if body.count(b",") >= limits.values:
        raise TooLarge(f"the body holds more than the {limits.values:,} values of one request; send fewer rows", field=FIELD)
    reader = csv.reader(io.StringIO(_text(body), newline=""), strict=True)
    try:
        header = next(reader, [])
        rows = list(_rows(reader, len(header), _columns(header, schema), limits.most_rows(schema)))
    except csv.Error as error:
        raise InvalidInput(f"line {reader.line_num} is no CSV: {error}") from error
    check_count(len(rows), schema, limits, FIELD)
    if model.encoder is None:
        try:
            numbers = array("f", [cell for row in rows for cell in row])  # type: ignore[type-var]  # found out by trying
        except TypeError:  # a text among them, which the encoder below finds
            pass
        else:
            found: Array = np.frombuffer(numbers, dtype=np.float32).reshape(len(rows), -1)
            check_finite(found, schema, FIELD)
            return found
    try:
        return (model.encoder or Encoder(schema)).encode(rows)
    except Unfit as error:
        raise InvalidInput(str(error), field=f"{FIELD}[{error.index}].{schema.features[error.column].name}") from error


def _text(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8 (byte {error.start}); send CSV in UTF-8") from error
    if not text.strip():
        raise InvalidInput("the body is empty; send CSV with the features' names in its first line")
    return text


def _columns(header: list[str], schema: Schema) -> list[tuple[int | None, Feature]]:
    """Return each feature with the place of its cell in a line; None: it is left out, and so missing."""
    known = {feature.name for feature in schema.features} | set(schema.unused)
    trimmed = Counter(name.strip() for name in known)
    alone = {name.strip(): name for name in known if trimmed[name.strip()] == 1}
    names = [name if name in known else alone.get(name.strip(), name) for name in header]
    seen: set[str] = set()
    for name in names:
        path = f"header.{name[:_LONGEST]}"
        if name not in known:
            hint = (
                "cells are separated by commas"
                if len(names) == 1 and set(name) & set(";\t|")
                else "GET /info lists its features"
            )
            raise InvalidInput(f"the model has no such feature; {hint}", field=path)
        if name in seen:
            raise InvalidInput("the column is there twice; send it once", field=path)
        seen.add(name)
    at = {name: index for index, name in enumerate(names)}
    for feature in schema.features:
        if feature.name not in at and not feature.nullable:
            raise InvalidInput("required, but missing", field=f"header.{feature.name}")
    return [(at.get(feature.name), feature) for feature in schema.features]


def _rows(
    lines: Iterator[list[str]], width: int, columns: Sequence[tuple[int | None, Feature]], most: int
) -> Iterator[list[float | str | None]]:
    """Yield the cells of each line in the order of the features, a row more than allowed at most."""
    converters = [(place, _CONVERTERS.get(feature.kind, _as_written), feature) for place, feature in columns]
    for index, cells in enumerate(lines):
        if not cells:  # those at the end are gone
            raise InvalidInput("an empty line stands before this one; leave it out", field=f"{FIELD}[{index}]")
        if len(cells) != width:
            raise InvalidInput(f"expected {width} cells as in the header, got {len(cells)}", field=f"{FIELD}[{index}]")
        yield [None if place is None else convert(cells[place], feature) for place, convert, feature in converters]
        if index == most:
            return


def _as_written(cell: str, _: Feature) -> str:
    return cell


def _number(cell: str, _: Feature) -> float | str:
    """Return a number; what is none stays a text, which is missing where it is empty and otherwise refused."""
    return float(cell) if _NUMBER.fullmatch(cell.strip()) else cell


def _category(cell: str, feature: Feature) -> float | str:
    """Return the cell, as a number where it is a fraction that the data did not have as a text: 3.0 is the category 3."""
    text = cell.strip()
    return float(text) if _FRACTION.fullmatch(text) and text not in feature.categories else cell


_CONVERTERS: dict[ColumnKind, Callable[[str, Feature], float | str]] = {"number": _number, "category": _category}
