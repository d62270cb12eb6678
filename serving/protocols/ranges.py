"""Strict mode: rows beside what the model was trained on are refused, with the place of the first value.

refuse_outside(rows, schema, lambda row, position: f"inputs[{row}][{position}]")
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from serving.columns import UNSEEN
from serving.errors import InvalidInput
from serving.schema import Array, Feature, Schema

Place = Callable[[int, int], str]  # (row, position in the flat encoded row) -> the path of a field

_LONGEST, _MOST_NAMED = 60, 10  # characters of a category, and categories, that a message names


def refuse_outside(rows: Array, schema: Schema, place: Place) -> None:
    """Raise InvalidInput for the first value outside the range of the train rows, or the first category that none of them had.

    rows: (batch, *schema.shape) as encoded. place(row, position): the path of the field behind a value; `position` counts the
    row's values in order, and `columns_of(schema)[position]` is the feature that it belongs to. A missing value passes. Bounds
    are compared as float32, as the rows are: the largest value seen in training is inside.
    """
    lowest, highest = _bounds(schema)
    flat = rows.reshape(len(rows), -1)
    outside = (flat < lowest) | (flat > highest)
    if not outside.any():
        return
    row, position = (int(index) for index in np.argwhere(outside)[0])
    raise InvalidInput(_reason(schema, float(flat[row, position]), position), field=place(row, position))


@lru_cache(maxsize=8)
def columns_of(schema: Schema) -> tuple[int, ...]:
    """Return the index of the feature of each value of an encoded row; empty for images."""
    return tuple(column for column, feature in enumerate(schema.features) for _ in range(feature.width))


@lru_cache(maxsize=8)
def _bounds(schema: Schema) -> tuple[Array, Array]:
    """Return the least and the largest value of each position, or one for all of them."""
    if not schema.features:
        pairs = [(schema.minimum, schema.maximum)]
    else:
        pairs = [pair for feature in schema.features for pair in _pairs(feature)]
    lowest, highest = np.array(pairs, dtype=np.float64).T.astype(np.float32)
    return lowest, highest


def _pairs(feature: Feature) -> list[tuple[float, float]]:
    if feature.kind == "category":
        return [(UNSEEN + 1, np.inf)]
    bounds = (feature.minimum, feature.maximum)
    return [bounds, (-np.inf, np.inf)] if feature.kind == "date" else [bounds]  # any second of the day


def _reason(schema: Schema, value: float, position: int) -> str:
    feature = schema.features[columns_of(schema)[position]] if schema.features else None
    if feature is None:
        return f"{value:g} is outside {schema.minimum:g} to {schema.maximum:g}, the range that the model was trained on"
    if feature.kind == "category":
        known = ", ".join(f'"{text[:_LONGEST]}"' for text in feature.categories[:_MOST_NAMED])
        more = f" and {len(feature.categories) - _MOST_NAMED} more" if len(feature.categories) > _MOST_NAMED else ""
        return f"is a category that no train row had; allowed: {known}{more}; GET /info lists all"
    shown = _day if feature.kind == "date" else "{:g}".format
    bounds = f"{shown(feature.minimum)} to {shown(feature.maximum)}"
    return f"{shown(value)} is outside {bounds}, the range that the model was trained on"


def _day(days: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).date().isoformat()
