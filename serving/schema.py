"""What one row is and what an answer is: the single description that training, export and service share.

Written by the `prepare` stage, carried in the bundle, enforced on each request.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]  # rows, answers
Task = Literal["classification", "multilabel", "regression"]
ColumnKind = Literal["number", "boolean", "category", "date"]


class Feature(msgspec.Struct, frozen=True):
    """One column of a table: what its values are, and how each becomes numbers (serving.columns).

    `minimum` and `maximum` bound the train rows: a number in its own unit, 0 and 1, codes, or days since 1970-01-01.
    """

    name: str
    minimum: float
    maximum: float
    kind: ColumnKind = "number"
    categories: tuple[str, ...] = ()  # texts of the codes 1, 2, …; of a boolean: the texts that mean 0 and 1
    date_format: str | None = None  # of strptime; None: ISO 8601
    nullable: bool = False  # whether a value may be missing

    @property
    def width(self) -> int:
        """Number of values that one cell becomes: day and second of the day for a date, else one."""
        return 2 if self.kind == "date" else 1


def starts_of(features: Sequence[Feature]) -> tuple[int, ...]:
    """Return the position of each feature's first value in an encoded row."""
    return tuple(accumulate((feature.width for feature in features[:-1]), initial=0)) if features else ()


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """Shape, unit and names of a row and of its target.

    `shape` is one row's shape without the batch dimension: `(values,)` for a table, `(height, width)` or
    `(channels, height, width)` for an image. `minimum` and `maximum` bound all values seen in the train split. A missing value
    of a table is NaN.
    """

    task: Task
    kind: Literal["table", "image"]
    shape: tuple[int, ...]
    target: str  # its name; of several: their names, joined by ", "
    minimum: float
    maximum: float
    classes: tuple[str, ...] = ()  # label of each output, in order; empty for regression
    targets: tuple[str, ...] = ()  # name of each output of a regression with several; empty where there is one
    features: tuple[Feature, ...] = ()  # one for each column of a table; empty for images
    unused: tuple[str, ...] = ()  # columns of the data that the model does not take, such as the target; a record may have them
    picture: Literal["L", "RGB"] | None = None  # how an uploaded picture is read; None: rows were no picture files

    @property
    def outputs(self) -> int:
        """Number of values that the model returns for a row."""
        return len(self.classes) or len(self.targets) or 1

    @property
    def headline(self) -> str:
        """The metric that is shown where there is room for one."""
        return {"classification": "accuracy", "multilabel": "f1", "regression": "rmse"}[self.task]

    @property
    def starts(self) -> tuple[int, ...]:
        """Position of each feature's first value in an encoded row."""
        return starts_of(self.features)

    @property
    def plain(self) -> bool:
        """Whether a row is nothing but numbers that are always there."""
        return all(feature.kind == "number" and not feature.nullable for feature in self.features)
