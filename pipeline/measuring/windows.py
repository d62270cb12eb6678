"""Turns: every worker has a short window, then the next one, in another order each round, until windows agree.

What drifts on a machine (a neighbor, a clock that falls as the chip warms up) then meets all of them alike, and the baseline,
which takes a turn in each round, meets it in the same moments.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

LAST = 3  # windows that must agree, and that numbers are taken from


def stable(medians: Sequence[float], agree: float) -> bool:
    """Return whether the last three medians differ by less than a share of the smallest of them."""
    last = medians[-LAST:]
    return len(last) == LAST and max(last) - min(last) < agree * min(last)


@dataclass
class Course:
    """The windows of one worker at one batch size: seconds of each call, and in which round each window was taken."""

    windows: list[list[float]] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    unstable: bool = True

    @property
    def medians(self) -> list[float]:
        """Median seconds of a call, of each window."""
        return [median(window) for window in self.windows]

    @property
    def calls(self) -> list[float]:
        """Seconds of the calls in the last three windows, which are the ones that agree where it is stable."""
        return [call for window in self.windows[-LAST:] for call in window]

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the calls in milliseconds."""
        return float(np.quantile(self.calls, share)) * 1e3

    def times_faster(self, baseline: "Course") -> float | None:
        """Return how many times the baseline's median this is: the median over the rounds of its last three windows."""
        other = dict(zip(baseline.rounds, baseline.medians, strict=True))
        mine = zip(self.rounds[-LAST:], self.medians[-LAST:], strict=True)
        ratios = [other[number] / own for number, own in mine if number in other]
        return median(ratios) if ratios else None


def take_turns(
    names: Sequence[str],
    window: Callable[[str], Sequence[float] | None],
    *,
    always: str,
    windows: int,
    agree: float,
    seed: int,
    told: Callable[[int], None],
) -> dict[str, Course]:
    """Return the course of each name: rounds of windows until the last three agree, or `windows` of them were taken.

    window: name -> seconds of each call, or None where it failed, which takes the name out. always: the baseline, which takes
    part in every round as long as another one does. told: hears the number of rounds so far. What never agrees is `unstable`.
    """
    generator = random.Random(seed)  # noqa: S311  # an order, no secret
    courses = {name: Course() for name in names}
    active = set(names)
    for number in range(windows):
        order = sorted(active | ({always} & set(courses)))
        generator.shuffle(order)
        for name in order:
            calls = window(name)
            if calls is None:
                active.discard(name)
                del courses[name]
                continue
            courses[name].windows.append(list(calls))
            courses[name].rounds.append(number)
        for name, course in courses.items():
            course.unstable = not stable(course.medians, agree)
            if not course.unstable:
                active.discard(name)
        if always in courses and courses[always].unstable:  # it was stable, and the windows that others needed changed that
            active.add(always)
        told(number + 1)
        if not active:
            break
    return courses
