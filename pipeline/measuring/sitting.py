"""One sitting: all artifacts and the baseline, alive at once, each in its process, measured in turns.

rows = sit(subjects, Plan(…), targets=targets, schema=schema, scratch=folder, show=show)
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import GateRefused
from pipeline.exporting.parity import Parity, Tolerance, compare
from pipeline.measuring.process import Worker
from pipeline.measuring.quality import Quality, quality
from pipeline.measuring.rows import BASELINE, Latency, Memory, Row, Start, Throughput
from pipeline.measuring.seat import Plan, Seat, Subject
from pipeline.measuring.windows import Course, take_turns
from serving.schema import Schema

_LEAST_CALLS, _LEAST_BATCHES = 20, 3  # of a window: quantiles need more calls than a median
_ROWS_AT_ONCE = 4096  # in one order, so that a worker is heard now and then

Show = Callable[[str, int, int], None]  # what is done now, how far it is, of how much


def sit(
    subjects: Sequence[Subject],
    plan: Plan,
    *,
    targets: NDArray[Any],
    schema: Schema,
    tolerance: Tolerance,
    scratch: Path,
    show: Show,
) -> list[Row]:
    """Return a row for each subject, the baseline's first.

    subjects: with one called `eager`, the baseline. targets: of the validation rows, whose inputs each `load` names. tolerance:
    how nearly another provider must answer like cpu. scratch: an empty folder. A subject that fails has a reason in its row;
    raises GateRefused when it is the baseline, since nothing is left to compare with.
    """
    seats = {subject.file: Seat(subject) for subject in subjects}
    with ExitStack() as stack:
        _start(seats, stack, scratch, show)
        _answer(seats, plan, len(targets), scratch, show)
        _refuse_without_baseline(seats)
        _latency(seats, plan, show)
        _throughput(seats, plan, show)
        for seat in seats.values():
            memory = seat.attempt(Worker.remember)
            if memory is not None:
                seat.memory = Memory(peak_bytes=memory.peak_bytes, pss_bytes=memory.pss_bytes, how=memory.how)
    _refuse_without_baseline(seats)
    before = seats[BASELINE].answers
    assert before is not None
    rows = []
    for done, seat in enumerate(seats.values()):
        show("scoring", done, len(seats))
        judged = Quality()
        if seat.answers is not None:
            judged = quality(
                seat.answers, before, targets, schema, confidence=plan.confidence, resamples=plan.resamples, seed=plan.seed
            )
        parity = _parity(seat, seats, max(plan.batch_sizes), schema, tolerance)
        rows.append(seat.row(judged, threads=plan.threads, parity=parity))
    return sorted(rows, key=lambda row: row.file != BASELINE)


def _parity(seat: Seat, seats: dict[str, Seat], size: int, schema: Schema, tolerance: Tolerance) -> Parity | None:
    """Return how what another provider computed compares with the same file on cpu, all in batches of this size."""
    beside = seats[seat.subject.beside].answers if seat.subject.beside is not None else None
    found = seat.answers
    if beside is None or found is None or not (np.isfinite(beside).all() and np.isfinite(found).all()):
        return None
    # What was answered stands in for the rows: nothing is computed again.
    return compare(lambda part: part, found, beside, task=schema.task, batch_sizes=[size], tolerance=tolerance)


def _start(seats: dict[str, Seat], stack: ExitStack, scratch: Path, show: Show) -> None:
    """Start the processes one after another: two that load at once would wait for each other."""
    for done, (name, seat) in enumerate(seats.items()):
        show(f"loading {name}", done, len(seats))
        order = seat.subject.load
        seat.worker = stack.enter_context(Worker(scratch / f"{name}.log"))
        took = seat.attempt(lambda worker, order=order: worker.load(order))  # type: ignore[misc]
        if took is not None:
            seat.start = Start(process_s=took[0], load_s=took[1])


def _answer(seats: dict[str, Seat], plan: Plan, rows: int, scratch: Path, show: Show) -> None:
    """Let each worker answer all validation rows, at the largest batch size, which its memory then has met."""
    size = max(plan.batch_sizes)
    step = max(size, _ROWS_AT_ONCE // size * size)
    for name, seat in seats.items():
        parts = []
        for start in range(0, rows, step):
            show(f"{name}: answering {rows} validation rows", start, rows)
            into, stop = scratch / f"{name}.npy", min(start + step, rows)
            seat.attempt(
                lambda worker, start=start, stop=stop, into=into: worker.answer(start, stop, batch_size=size, into=into)  # type: ignore[misc]
            )
            if seat.worker is None:
                break
            parts.append(np.load(into, allow_pickle=False))
            into.unlink()
        else:
            seat.answers = np.concatenate(parts)


def _latency(seats: dict[str, Seat], plan: Plan, show: Show) -> None:
    courses = _turns(seats, list(seats), plan, 1, _LEAST_CALLS, show)
    for name, course in courses.items():
        seats[name].latency = Latency(
            p50_ms=course.quantile_ms(0.5),
            p95_ms=course.quantile_ms(0.95),
            p99_ms=course.quantile_ms(0.99),
            times_faster=course.times_faster(courses[BASELINE]) if BASELINE in courses else None,
            calls=len(course.calls),
            windows_ms=_shown(course),
            unstable=course.unstable,
        )
        if 1 in plan.batch_sizes:
            seats[name].throughput.append(_rate(course, courses, 1))


def _throughput(seats: dict[str, Seat], plan: Plan, show: Show) -> None:
    for size in sorted(set(plan.batch_sizes) - {1}):
        names = [name for name, seat in seats.items() if seat.grows and name != BASELINE]
        if not names:
            names = [BASELINE] if seats[BASELINE].grows else []
        if not names:
            return
        courses = _turns(seats, sorted({BASELINE, *names}), plan, size, _LEAST_BATCHES, show)
        for name, course in courses.items():
            seats[name].throughput.append(_rate(course, courses, size))


def _turns(
    seats: dict[str, Seat], names: Sequence[str], plan: Plan, size: int, least_calls: int, show: Show
) -> dict[str, Course]:
    """Return the windows of each name that has a worker, in seconds."""
    alive = [name for name in names if seats[name].worker is not None]
    what = f"batch {size}: {len(alive)} models in turns"
    show(what, 0, plan.windows)

    def window(name: str) -> list[float] | None:
        calls = seats[name].attempt(lambda worker: worker.window(size, window_ms=plan.window_ms, least_calls=least_calls))
        return None if calls is None else [call / 1e9 for call in calls]

    return take_turns(
        alive,
        window,
        always=BASELINE,
        windows=plan.windows,
        agree=plan.agree,
        seed=plan.seed,
        told=lambda number: show(what, number, plan.windows),
    )


def _rate(course: Course, courses: dict[str, Course], size: int) -> Throughput:
    baseline = courses.get(BASELINE)
    return Throughput(
        batch_size=size,
        rows_per_s=_rows_per_s(course, size),
        times_faster=course.times_faster(baseline) if baseline else None,
        baseline_rows_per_s=_rows_per_s(baseline, size) if baseline else None,
        windows_ms=_shown(course),
        unstable=course.unstable,
    )


def _rows_per_s(course: Course, size: int) -> float:
    return size / (course.quantile_ms(0.5) / 1e3)


def _shown(course: Course) -> list[float]:
    return [round(value * 1e3, 6) for value in course.medians]


def _refuse_without_baseline(seats: dict[str, Seat]) -> None:
    failed = seats[BASELINE].failed
    if failed is not None:
        raise GateRefused(
            f"benchmark: the float model itself could not be measured, so there is nothing to compare with: {failed}"
        )
