"""What a metric lost on the very same rows: two models that are right on the same rows differ by less than their intervals say.

drop = paired_drop(given, before, targets, schema, confidence=0.95, resamples=2000, seed=0)
drop.drop, drop.bound        # 0.003, and not more than 0.011 with that confidence
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.metrics.tasks import label_metrics, lower_is_better
from serving.answers import LABEL_FROM
from serving.schema import Array, Schema

_MOST_DRAWN, _FEWEST_RESAMPLES = 200_000_000, 100  # rows over all resamples, as for intervals (pipeline.metrics.score)

Measure = Callable[[Array, NDArray[Any]], float]


class PairedDrop(msgspec.Struct, frozen=True, kw_only=True):
    """What was lost, above 0 where it became worse, with the one-sided upper bound of the loss.

    value and before: the metric of the two models. lost and gained: rows that became wrong and that became right; None where
    rows are not right or wrong. `drop` and `bound` are in the metric's unit, and also for a metric that falls as a model
    improves, they are above 0 where it became worse.
    """

    metric: str
    value: float
    before: float
    drop: float
    bound: float
    confidence: float
    method: str
    rows: int
    lost: int | None = None
    gained: int | None = None


def paired_drop(
    given: Array,
    before: Array,
    targets: NDArray[Any],
    schema: Schema,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    metric: str | None = None,
) -> PairedDrop:
    """Return what the headline metric, or `metric`, loses when `given` stands in for `before`.

    given, before: (rows, outputs) answers to the same rows; targets as in `score`. Accuracy and exact_match have the adjusted
    Wald bound for paired proportions, f1 and rmse the percentile bound of a paired bootstrap.
    """
    name = metric or schema.headline
    if name in _RIGHT:
        return paired_proportions(
            _RIGHT[name](given, targets), _RIGHT[name](before, targets), metric=name, confidence=confidence
        )
    return paired_bootstrap(
        _MEASURES[name], given, before, targets, metric=name, confidence=confidence, resamples=resamples, seed=seed
    )


def outputs_drop(
    given: Array,
    before: Array,
    targets: NDArray[Any],
    names: Sequence[str],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[PairedDrop]:
    """Return what `rmse.<name>` of each of several values loses; nothing without names. All arrays: (rows, outputs)."""
    return [
        paired_bootstrap(
            _rmse,
            given[:, [index]],
            before[:, [index]],
            targets[:, [index]],
            metric=f"rmse.{name}",
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        for index, name in enumerate(names)
    ]


def paired_proportions(
    right: NDArray[np.bool], right_before: NDArray[np.bool], *, metric: str, confidence: float
) -> PairedDrop:
    """Return the drop of a share of rows, both (rows,), bounded by the adjusted Wald interval of Agresti and Min (2005).

    Half a row is added to each cell of the 2 by 2 table. Without it, two models that are right on the same rows would have the
    bound 0, as if no further row could ever tell them apart; with it, the bound is about 1.6 rows at 95 %.
    """
    rows = len(right)
    lost, gained = int((right_before & ~right).sum()), int((right & ~right_before).sum())
    more, fewer, count = lost + 0.5, gained + 0.5, rows + 2
    center = (more - fewer) / count
    deviation = np.sqrt(more + fewer - (more - fewer) ** 2 / count) / count
    bound = min(1.0, center + NormalDist().inv_cdf(confidence) * deviation)
    return PairedDrop(
        metric=metric,
        value=float(right.mean()),
        before=float(right_before.mean()),
        drop=(lost - gained) / rows,
        bound=float(bound),
        confidence=confidence,
        method="adjusted Wald for paired proportions",
        rows=rows,
        lost=lost,
        gained=gained,
    )


def paired_bootstrap(
    measure: Measure,
    given: Array,
    before: Array,
    targets: NDArray[Any],
    *,
    metric: str,
    confidence: float,
    resamples: int,
    seed: int,
) -> PairedDrop:
    """Return the drop of any metric, with the percentile bound (Efron 1979) over resamples in which both have the same rows.

    measure: (answers, targets) -> the metric. A resample in which it is not finite does not count; where none is, the bound is
    NaN. Models with the same answers have the bound 0: a bootstrap knows no rows but these.
    """
    rows, sign = len(targets), -1.0 if lower_is_better(metric.partition(".")[0]) else 1.0
    generator = np.random.default_rng(seed)
    drops = []
    for _ in range(min(resamples, max(_FEWEST_RESAMPLES, _MOST_DRAWN // max(1, rows)))):
        drawn = generator.integers(0, rows, rows)
        drops.append(sign * (measure(before[drawn], targets[drawn]) - measure(given[drawn], targets[drawn])))
    sample = np.array(drops)[np.isfinite(drops)]
    value, reference = measure(given, targets), measure(before, targets)
    return PairedDrop(
        metric=metric,
        value=value,
        before=reference,
        drop=sign * (reference - value),
        bound=float(np.quantile(sample, confidence)) if sample.size else float("nan"),
        confidence=confidence,
        method="paired bootstrap",
        rows=rows,
    )


def _right_class(answers: Array, targets: NDArray[Any]) -> NDArray[np.bool]:
    right: NDArray[np.bool] = (answers.argmax(1) == targets) & np.isfinite(answers).all(axis=1)
    return right


def _right_labels(answers: Array, targets: NDArray[Any]) -> NDArray[np.bool]:
    right: NDArray[np.bool] = ((answers >= LABEL_FROM) == (targets > 0.5)).all(axis=1) & np.isfinite(answers).all(axis=1)
    return right


def _f1(answers: Array, targets: NDArray[Any]) -> float:
    return label_metrics(torch.from_numpy(answers), torch.from_numpy(targets))["f1"]


def _rmse(answers: Array, targets: NDArray[Any]) -> float:
    errors = answers.astype(np.float64) - targets.reshape(answers.shape)
    return float(np.sqrt((errors**2).mean(axis=0)).mean())


_RIGHT: Mapping[str, Callable[[Array, NDArray[Any]], NDArray[np.bool]]] = {
    "accuracy": _right_class,
    "exact_match": _right_labels,
}
_MEASURES: Mapping[str, Measure] = {"f1": _f1, "rmse": _rmse}
