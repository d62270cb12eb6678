"""What the checks of split rows look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Split
from pipeline.config.prepare_sections import PrepareConfig
from serving.schema import Schema


@dataclass(frozen=True)
class Subject:
    """Encoded rows of each split, all or a sample, as they are stored.

    inputs: (rows, *schema.shape) float32, NaN where a value is missing; targets as stored; rows: (rows,) numbers in the source;
    counts: rows of the whole split. groups: (rows,) equal for rows with the same inputs. place: number of a row -> where a
    person finds it.
    """

    schema: Schema
    section: PrepareConfig
    inputs: dict[Split, NDArray[np.float32]]
    targets: dict[Split, NDArray[Any]]
    rows: dict[Split, NDArray[np.int64]]
    groups: dict[Split, NDArray[np.int64]]
    counts: dict[Split, int]
    place: Callable[[int], str]
