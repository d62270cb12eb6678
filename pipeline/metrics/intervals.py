"""Confidence intervals: a metric without one invites conclusions that 360 test rows do not carry."""

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Metrics = Mapping[str, float]


class Interval(msgspec.Struct, frozen=True):
    """A number with the bounds of its confidence interval, and how they were found."""

    value: float
    low: float
    high: float
    method: str


def wilson(successes: int, trials: int, *, confidence: float) -> Interval:
    """Return a proportion with its Wilson score interval (Wilson 1927), which holds near 0 and 1 where the normal one fails."""
    share, z = successes / trials, -NormalDist().inv_cdf((1 - confidence) / 2)  # scipy.stats takes most of a second to import
    center = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low = 0.0 if successes == 0 else center - half  # at the ends, rounding would leave a trace beside the bound
    return Interval(share, low, 1.0 if successes == trials else center + half, "wilson")


def bootstrap(
    measure: Callable[[NDArray[np.int64]], Metrics], rows: int, *, confidence: float, resamples: int, seed: int
) -> dict[str, Interval]:
    """Return each metric with its percentile bootstrap interval (Efron 1979).

    measure: row numbers -> metrics, the very function that gives the point estimate; called once for each resample.
    """
    generator = np.random.default_rng(seed)
    drawn = [measure(generator.integers(0, rows, rows)) for _ in range(resamples)]
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    intervals = {}
    for name, value in measure(np.arange(rows)).items():
        sample = np.array([metrics[name] for metrics in drawn])
        sample = sample[np.isfinite(sample)]  # R² of a resample with one distinct row is undefined
        low, high = np.quantile(sample, tails) if sample.size else (np.nan, np.nan)
        intervals[name] = Interval(value, float(low), float(high), "bootstrap")
    return intervals


def as_json(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """Return intervals as plain values."""
    return {name: msgspec.to_builtins(interval) for name, interval in intervals.items()}
