"""What one row is and what an answer is: the single description that training, export and service share.

Written by the `prepare` stage, carried in the bundle, enforced on each request.
"""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]  # rows, answers
Task = Literal["classification", "regression"]


class Feature(msgspec.Struct, frozen=True):
    """One column of a table, with the range seen in the train split, in the column's own unit."""

    name: str
    minimum: float
    maximum: float


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """Shape, unit and names of a row and of its target.

    `shape` is one row's shape without the batch dimension: `(features,)` for a table, `(height, width)` or
    `(channels, height, width)` for an image. `minimum` and `maximum` bound all values seen in the train split.
    """

    task: Task
    kind: Literal["table", "image"]
    shape: tuple[int, ...]
    target: str
    minimum: float
    maximum: float
    classes: tuple[str, ...] = ()  # label of each output, in order; empty for regression
    features: tuple[Feature, ...] = ()  # one for each column of a table; empty for images

    @property
    def outputs(self) -> int:
        """Number of values that the model returns for a row."""
        return len(self.classes) if self.task == "classification" else 1

    @property
    def headline(self) -> str:
        """The metric that is shown where there is room for one."""
        return "accuracy" if self.task == "classification" else "rmse"
