"""What the chosen artifacts of several folds lose on rows that nothing of their fold has seen, bounded as `select` does it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.artifacts.recipe import ROWS, RUN
from pipeline.artifacts import Model, Prepared, Selected
from pipeline.metrics.paired import PairedDrop, paired_drop
from pipeline.training.deployed import answers, deployable_of
from serving.predictor import Predictor
from serving.schema import Array, Schema

CONFIDENCE = 0.95
_ROWS = 32  # in one call


@dataclass(frozen=True)
class HeldOut:
    """Answers to the test rows of a fold. given: of its chosen artifact, before: of its float model, both (rows, outputs).

    targets, numbers: (rows,) what is right, and where each row is in the source.
    """

    given: Array
    before: Array
    targets: NDArray[Any]
    numbers: NDArray[np.int64]
    schema: Schema

    @property
    def drop(self) -> PairedDrop:
        """What this fold alone lost."""
        return pooled([self])


def held_out(folder: Path) -> HeldOut:
    """Return what a finished fold answers to its test rows: the artifact as it is served, and the float model in PyTorch."""
    prepared, model = Prepared.open(folder / ROWS), Model.open(folder / RUN / "train")
    predictor = Predictor.from_bundle(Selected.open(folder / RUN / "select").open_bundle())
    inputs, targets = prepared.split("test")
    given = np.concatenate([predictor.predict(inputs[start : start + _ROWS]) for start in range(0, len(inputs), _ROWS)])
    before = answers(deployable_of(prepared, model), inputs)
    return HeldOut(given, before, targets, prepared.row_numbers("test"), prepared.schema)


def pooled(parts: Sequence[HeldOut]) -> PairedDrop:
    """Return the drop over the rows of all folds, by the function that `benchmark` and `select` bound one split with.

    Raises ValueError where a row is in two folds: counted twice, it would make the bound look smaller than it is.
    """
    numbers = np.concatenate([part.numbers for part in parts])
    found, times = np.unique(numbers, return_counts=True)
    if len(found) < len(numbers):
        raise ValueError(f"row {found[times > 1][0]} of the source is held out {times.max()} times; each row counts once")
    given, before, targets = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("given", "before", "targets")
    )
    return paired_drop(given, before, targets, parts[0].schema, confidence=CONFIDENCE, resamples=2000, seed=0)


def bound_between(drops: Sequence[float]) -> float:
    """Return the upper bound of the mean drop with each fold as one observation (Student's t); there must be two.

    Rows of a fold share their models, which the bound over rows knows nothing of; this one does, but has few observations.
    """
    from scipy.stats import t as student  # takes most of a second to import

    deviation = statistics.stdev(drops) / math.sqrt(len(drops))
    return statistics.mean(drops) + float(student.ppf(CONFIDENCE, len(drops) - 1)) * deviation
