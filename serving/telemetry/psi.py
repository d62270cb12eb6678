"""How far two distributions are apart, and whether so few rows can tell.

The population stability index is sum (f - e) ln(f / e) over bins, of shares found and expected. Industry reads it as ok below
0.1 and as changed from 0.25 on (Siddiqi, Credit Risk Scorecards, 2006), whatever the number of rows; but n rows against m of
one and the same distribution give (bins - 1)(1/n + 1/m) on average, and n·m/(n + m) times the index follows a chi-square
distribution with bins - 1 degrees of freedom (Yurdakul and Naranjo, Statistical properties of the population stability index,
Journal of Risk Model Validation 14(4), 2020). That mean is taken off, and an index within chance's reach is ok whatever it is.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from serving.telemetry.state import Vector

State = Literal["ok", "shifting", "drifted"]
SHIFTING, DRIFTED = 0.1, 0.25

_LEAST = 5.0  # rows expected in a bin; rarer bins are joined, or chi-square does not hold (Cochran 1954)
_NORMAL = 4.0  # standard deviations of a normal variable; beyond lie 3 looks in 100,000
_PRIOR = 0.5  # rows added to every bin (Jeffreys), so that an empty one has a logarithm


@dataclass(frozen=True, slots=True)
class Shift:
    """`value`: the index less its bias, not below 0. `state`: what to make of it."""

    value: float
    state: State


def shift(expected: Vector, counts: Vector, *, rows: float, reference_rows: float) -> Shift:
    """Compare counts with expected shares, bin by bin.

    rows, reference_rows: how many independent rows are behind the counts and behind the shares; of pixels, those of their
    pictures.
    """
    groups = _joined(expected * min(rows, reference_rows))
    size = max(groups, default=0) + 1
    found = np.bincount(groups, counts / max(1.0, counts.sum()), minlength=size)
    wanted = np.bincount(groups, expected, minlength=size)
    return _shift(wanted.astype(np.float64), found.astype(np.float64), rows, reference_rows)


def share_shift(expected: float, found: float, *, rows: float, reference_rows: float) -> Shift:
    """Compare the share of rows that have some property, however rare, with the expected one."""
    return _shift(np.array([1 - expected, expected]), np.array([1 - found, found]), rows, reference_rows)


def _shift(wanted: Vector, found: Vector, rows: float, reference_rows: float) -> Shift:
    if len(wanted) < 2:
        return Shift(0.0, "ok")
    wanted, found = _smooth(wanted, reference_rows), _smooth(found, rows)
    index = float(((found - wanted) * np.log(found / wanted)).sum())
    chance = 1 / rows + 1 / reference_rows
    value = max(0.0, index - (len(wanted) - 1) * chance)
    if index <= _chi_square(len(wanted) - 1) * chance or value < SHIFTING:
        return Shift(value, "ok")
    return Shift(value, "shifting" if value < DRIFTED else "drifted")


def worst(states: Iterable[State]) -> State:
    """Return the worst of several states."""
    order: tuple[State, ...] = ("ok", "shifting", "drifted")
    return max(states, key=order.index, default="ok")


def _joined(expected: Vector) -> list[int]:
    """Return a group for each bin: one of its own, or one with other rare bins, so that each expects at least _LEAST rows.

    Rare ones are joined as chance has it: by their shares, those that the reference happened to miss would be together, and
    look as if they had become more.
    """
    groups = np.zeros(len(expected), dtype=np.int64)
    large = np.flatnonzero(expected >= _LEAST)
    groups[large] = np.arange(len(large))
    group, held = len(large), 0.0
    rare = [place for place in np.random.default_rng(0).permutation(len(expected)) if expected[place] < _LEAST]
    for place in rare:
        groups[place] = group
        held += expected[place]
        if held >= _LEAST:
            group, held = group + 1, 0.0
    left = groups == group
    if left.any() and group > 0:  # too small a group: it joins the one before, or the smallest of the large
        groups[left] = group - 1 if group > len(large) else int(expected[large].argmin())
    found: list[int] = groups.tolist()
    return found


def _smooth(shares: Vector, rows: float) -> Vector:
    smoothed: Vector = (shares * rows + _PRIOR) / (rows + _PRIOR * len(shares))
    return smoothed


def _chi_square(freedom: int) -> float:
    """Return the quantile of a chi-square distribution _NORMAL standard deviations out (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * freedom)
    return freedom * float((1 - spread + _NORMAL * math.sqrt(spread)) ** 3)
