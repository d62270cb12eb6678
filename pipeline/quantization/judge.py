"""What an artifact loses against its float model, on validation rows, through the Predictor that will serve it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.exporting.parity import Tolerance
from pipeline.metrics.score import score
from pipeline.metrics.tasks import lower_is_better
from serving.answers import LABEL_FROM
from serving.bundle import Runtime
from serving.predictor import Predictor
from serving.schema import Array, Schema

_ROWS_AT_OTHER_SIZES = 256  # validation rows that are answered again at each batch size
_LOUD = 1000  # times the largest values seen: the neighbor that rows are answered beside once more


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact beside its float model.

    metric: the headline one. drop: what it lost, above 0 when worse, in its own unit; of an error, as a share of the float
    model's. batch_effect: largest difference between a row's answers at different batch sizes, and beside a row of values 1,000
    times as large; alone: whether it stays within export's tolerance. agreement: share of rows with the same likeliest class,
    or the same labels; None of values.
    """

    metric: float
    drop: float | None
    mean_abs_diff: float
    max_abs_diff: float
    batch_effect: float
    alone: bool
    agreement: float | None
    bytes: int

    @property
    def lost(self) -> float:
        """The drop, infinite where it is no number: JSON has none for that."""
        return math.inf if self.drop is None else self.drop


@dataclass(frozen=True)
class Judge:
    """The float model of one format, and validation rows with their answers.

    inputs: (rows, *shape) raw; targets: as in `pipeline.metrics.score`; expected: the float model's answers (rows, outputs);
    metric: its headline metric; tolerance: what neighbors may change.
    """

    schema: Schema
    runtime: Runtime
    inputs: Array
    targets: NDArray[Any]
    expected: Array
    metric: float
    batch_sizes: Sequence[int]
    max_drop: float
    seed: int
    tolerance: Tolerance

    @classmethod
    def of(
        cls,
        payload: bytes,
        inputs: Array,
        targets: NDArray[Any],
        *,
        schema: Schema,
        runtime: Runtime,
        batch_sizes: Sequence[int],
        max_drop: float,
        seed: int,
        tolerance: Tolerance,
    ) -> "Judge":
        """Answer the validation rows with the float artifact."""
        expected = answered(Predictor(payload, schema=schema, runtime=runtime), inputs, max(batch_sizes))
        metric = headline(expected, targets, schema, seed=seed)
        return cls(schema, runtime, inputs, targets, expected, metric, batch_sizes, max_drop, seed, tolerance)

    def predictor(self, payload: bytes) -> Predictor:
        """Load an artifact as the service does."""
        return Predictor(payload, schema=self.schema, runtime=self.runtime)

    def judge(self, payload: bytes) -> Verdict:
        """Measure an artifact; raises BundleError when it does not load or answers in another shape."""
        predictor = self.predictor(payload)
        found = answered(predictor, self.inputs, max(self.batch_sizes))
        metric = headline(found, self.targets, self.schema, seed=self.seed)
        difference = np.abs(found - self.expected)
        effect = self._batch_effect(predictor, found)
        drop = drop_of(self.schema.headline, self.metric, metric)
        return Verdict(
            metric=metric,
            drop=drop if math.isfinite(drop) else None,
            mean_abs_diff=float(difference.mean()),
            max_abs_diff=float(difference.max()),
            batch_effect=float(effect.max()),
            alone=bool((effect <= self.tolerance.allowed(found[: len(effect)])).all()),
            agreement=agreement(found, self.expected, self.schema),
            bytes=len(payload),
        )

    def _batch_effect(self, predictor: Predictor, found: Array) -> NDArray[np.float64]:
        """Return how far answers move at other batch sizes and beside a loud neighbor, (some rows, outputs).

        found: (rows, outputs), answers at the largest batch size. Neighbors of ordinary values would hide that a whole batch is
        scaled by its largest one.
        """
        some = self.inputs[:_ROWS_AT_OTHER_SIZES]
        loud = (np.abs(self.inputs).max(axis=0, keepdims=True) * np.float32(_LOUD)).astype(self.inputs.dtype)  # (1, *shape)
        others = [answered(predictor, some, size) for size in self.batch_sizes]
        others.append(predictor.predict(np.concatenate([some, loud]))[:-1])
        moved = np.max([np.abs(other.astype(np.float64) - found[: len(some)]) for other in others], axis=0)
        worst: NDArray[np.float64] = np.nan_to_num(moved, nan=np.finfo(np.float64).max)
        return worst

    def within(self, verdict: Verdict) -> bool:
        """Return whether an artifact lost no more than it may; a metric that is no number lost all."""
        return verdict.lost <= self.max_drop + 1e-12  # 0.99 - 0.98 is a little more than 0.01


def answered(predictor: Predictor, inputs: Array, size: int) -> Array:
    """Return the answers to (rows, *shape), (rows, outputs), `size` rows at a time."""
    return np.concatenate([predictor.predict(inputs[start : start + size]) for start in range(0, len(inputs), size)])


def headline(answers: Array, targets: NDArray[Any], schema: Schema, *, seed: int) -> float:
    """Return the headline metric of answers, NaN where one of them is no number."""
    if not np.isfinite(answers).all():
        return math.nan
    return score(answers, targets, schema, confidence=0.95, resamples=0, seed=seed)[schema.headline].value


def drop_of(name: str, whole: float, found: float) -> float:
    """Return what a metric lost, above 0 when worse: a difference, of an error the share by which it grew; NaN is infinite."""
    if not (math.isfinite(whole) and math.isfinite(found)):
        return math.inf
    if not lower_is_better(name):
        return whole - found
    if whole == 0:
        return 0.0 if found == 0 else math.inf
    return (found - whole) / abs(whole)


def agreement(found: Array, expected: Array, schema: Schema) -> float | None:
    """Return the share of rows that get the same class, or the same labels; None of values."""
    match schema.task:
        case "classification":
            return float((found.argmax(1) == expected.argmax(1)).mean())
        case "multilabel":
            return float(((found >= LABEL_FROM) == (expected >= LABEL_FROM)).all(axis=1).mean())
        case "regression":
            return None
