"""Turns: every worker in each round, in changing order, until windows agree; what never agrees is marked."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.measuring.windows import Course, stable, take_turns


def turns(windows: dict[str, list[float]], *, most: int = 8, agree: float = 0.1) -> tuple[dict[str, Course], list[str]]:
    """Take turns with workers whose windows are given: one call each, the last one for ever."""
    taken: list[str] = []

    def window(name: str) -> Sequence[float] | None:
        value = windows[name][min(taken.count(name), len(windows[name]) - 1)]
        taken.append(name)
        return None if value < 0 else [value]

    courses = take_turns(list(windows), window, always="eager", windows=most, agree=agree, seed=0, told=lambda number: None)
    return courses, taken


def test_windows_that_agree_end_after_three_rounds() -> None:
    courses, taken = turns({"eager": [1.0], "a": [0.5], "b": [0.25]})
    assert len(taken) == 9
    assert not any(course.unstable for course in courses.values())
    assert courses["b"].times_faster(courses["eager"]) == 4


def test_each_round_has_everyone_once_and_the_order_changes() -> None:
    _, taken = turns({name: [1.0, 2.0] * 10 for name in ("eager", "a", "b", "c")})
    rounds = [taken[start : start + 4] for start in range(0, len(taken), 4)]
    assert all(sorted(one) == ["a", "b", "c", "eager"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 3


def test_what_never_agrees_is_marked_and_its_windows_are_kept_as_they_were() -> None:
    courses, _ = turns({"eager": [1.0], "a": [1.0, 2.0] * 10}, most=7)
    assert courses["a"].unstable
    assert courses["a"].medians == [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]
    assert not courses["eager"].unstable


def test_the_baseline_goes_on_with_whoever_needs_more_windows_so_that_ratios_are_of_the_same_rounds() -> None:
    courses, _ = turns({"eager": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0], "a": [9.0, 9.0, 1.0, 1.0, 1.0]})
    assert courses["eager"].rounds == [0, 1, 2, 3, 4, 5]
    assert courses["a"].rounds == [0, 1, 2, 3, 4]
    assert courses["a"].times_faster(courses["eager"]) == 2, "over rounds 2 to 4: once, twice, twice"
    assert not courses["eager"].unstable


def test_one_that_fails_leaves_and_the_others_go_on() -> None:
    courses, taken = turns({"eager": [1.0], "a": [1.0, -1.0], "b": [1.0]})
    assert sorted(courses) == ["b", "eager"]
    assert taken.count("a") == 2


@pytest.mark.parametrize(
    ("medians", "expected"), [([1.0, 1.0], False), ([9.0, 1.0, 1.05, 1.09], True), ([1.0, 1.05, 1.11], False)]
)
def test_stable_means_that_the_last_three_medians_differ_by_less_than_the_share(medians: list[float], expected: bool) -> None:
    assert stable(medians, 0.1) is expected


@given(st.lists(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5), min_size=1, max_size=6))
def test_quantiles_rise_and_lie_among_the_calls_of_the_last_three_windows(windows: list[list[float]]) -> None:
    course = Course(windows)
    last = [call for window in windows[-3:] for call in window]
    p50, p95, p99 = (course.quantile_ms(share) for share in (0.5, 0.95, 0.99))
    assert min(last) * 1e3 * (1 - 1e-9) <= p50 <= p95 * (1 + 1e-9)
    assert p95 <= p99 * (1 + 1e-9) <= max(last) * 1e3 * (1 + 1e-6)
