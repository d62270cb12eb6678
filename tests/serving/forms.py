"""The same rows in the forms of protocols that take rows and columns, and codecs for models of each kind."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from serving.facts import ModelFacts
from serving.schema import Feature, Schema
from tests.serving.asking import facts_of
from tests.serving.conftest import FEATURES, IMAGE, MESSY, TABLE

C = TypeVar("C")
ROWS = [[1.0, 2.0, 0.5], [-1.0, 0.25, 1.5]]
EXPECTED = np.array(ROWS, dtype=np.float32)
TURNED = [FEATURES[2], FEATURES[0], FEATURES[1]]  # the same columns in another order
TURNED_ROWS = [[row[2], row[0], row[1]] for row in ROWS]
CELLS: list[list[Any]] = [[30, True, "Bern", "2001-02-03", 2.5], [41.5, "no", "Rome", "2010-11-12", 7]]
NAMES = [feature.name for feature in MESSY.features]
ONE = Schema(
    task="regression",
    kind="table",
    shape=(1,),
    target="y",
    minimum=0,
    maximum=9,
    features=(Feature("x", 0, 9),),
    unused=("id",),
)


def codecs(codec: Callable[[ModelFacts], C]) -> tuple[C, C, C, C]:
    """A codec for a model of plain numbers, of cells of every kind, of images, and of one feature."""
    table, messy, image, one = (codec(facts_of(schema)) for schema in (TABLE, MESSY, IMAGE, ONE))
    return table, messy, image, one


def records(names: Any, rows: Any) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def columns(names: Any, rows: Any) -> dict[str, Any]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def csv_of(names: Any, rows: Any) -> bytes:
    return "\n".join(",".join(str(cell) for cell in line) for line in [names, *rows]).encode()
