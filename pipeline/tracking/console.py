"""The terminal: bars, the last numbers and the time left while a stage works, one line when it is done.

Where the output is no terminal there are no bars: about ten plain lines for a training run, so that a log file stays short.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipeline.tracking.course import Course
from pipeline.tracking.records import Record

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_PLAIN_LINES = 10
_PER_SECOND = 4  # a display that flickers cannot be read
_BAR = 24  # characters
_HEADLINE = ("train/loss", "val/loss", "val/accuracy", "val/rmse", "lr")
_TOLD: dict[str, Callable[[dict[str, Any]], list[str]]] = {  # events that a person should see, as lines
    "sanity": lambda v: [
        f"warning: {f['check']}: {f['text']}" for f in v["findings"] if f["level"] == "FAIL" and not f["stops"]
    ],
    "data_checks": lambda v: [f"warning: {line}" for line in v["warnings"]],
    "out_of_memory": lambda v: [f"warning: memory did not suffice; steps were computed in {v['parts']} parts from there on"],
    "monitor_failed": lambda v: [f"warning: monitor {v['monitor']} failed and is off from here on: {v['why']}"],
    "table": lambda v: v["lines"],
    "monitor_thinned": lambda _: [
        "monitors look less often, to stay below monitor.max_overhead; cost/* in the journal has each"
    ],
}


class Console:
    """Shows records; `line` prints one line without breaking a bar."""

    name = "console"

    def __init__(
        self, *, terminal: bool, write: Callable[[str], object] = print, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Show bars on a terminal, plain lines elsewhere; `write` takes a line, `clock` gives seconds."""
        self._terminal, self._write, self._clock = terminal, write, clock
        self._live: Live | None = None
        self._stage, self._now = "", ""
        self._course: Course | None = None
        self._share: tuple[int, int] | None = None  # done of all, of work that has no epochs
        self._thinned = False

    def line(self, text: str) -> None:
        """Print one line."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._write(text)

    def show(self, record: Record) -> None:
        """Show that a stage works, on what, and how far it is where its length is known."""
        name = record.values["name"] if record.kind == "event" else ""
        if name == "stage_started":
            self._begin(record.stage, None, "starting")
        elif name == "working_on":
            self._begin(record.stage, None, str(record.values["what"]))
        elif name == "work_started":
            self._begin(record.stage, Course(record.values, self._clock), "")
        elif name in _TOLD:
            self._tell(name, record.values)
        elif self._course is not None and name == "resumed":
            self._course.resumed(record.values)
        elif self._course is not None and record.kind == "metrics" and record.step is not None:
            self._epoch(self._course, record)

    def _tell(self, name: str, values: dict[str, Any]) -> None:
        if name == "monitor_thinned" and self._thinned:  # the journal has each; a person needs to know once
            return
        self._thinned |= name == "monitor_thinned"
        for line in _TOLD[name](values):
            self.line(line)

    def advance(self, done: int, total: int, shown: dict[str, float]) -> None:
        """Show how many batches of the epoch, or parts of other work, are done."""
        if self._course is not None:
            self._course.advanced(done, total, shown)
        else:
            self._share = done, total

    def close(self) -> None:
        """Remove the bars."""
        if self._live is not None:
            self._live.stop()
        self._live, self._course = None, None

    def __enter__(self) -> Self:
        """Return the console."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the bars, however the work ended."""
        self.close()

    def _begin(self, stage: str, course: Course | None, now: str) -> None:
        self.close()
        self._stage, self._course, self._now, self._share = stage, course, now, None
        if self._terminal:
            from rich.live import Live

            self._live = Live(get_renderable=self._render, refresh_per_second=_PER_SECOND, transient=True)
            self._live.start()

    def _epoch(self, course: Course, record: Record) -> None:
        before = course.epoch
        course.finished_epoch(record)
        if self._terminal or course.epoch == before:  # a second record of the same epoch
            return
        if course.epoch == 1 or course.epoch % max(1, course.epochs // _PLAIN_LINES) == 0:
            shown = [_numbers(course), _best(course), _speed(course), f"[{course.elapsed_s:.1f} s]"]
            self._write(f"{self._stage:<8} epoch {course.epoch}/{course.epochs}  {'  '.join(part for part in shown if part)}")

    def _render(self) -> "RenderableType":
        """Draw what is known now; called by the display's own clock."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        def text(words: str) -> Text:
            return Text(words, no_wrap=True, overflow="ellipsis")

        course = self._course
        bars = Table.grid(padding=(0, 1))
        if course is None:
            done, total = self._share or (0, None)
            bar = ProgressBar(total=total, completed=done, pulse=total is None, width=_BAR)
            bars.add_row(text(f"{self._stage:<8}"), bar, text(self._now), text(f"{done:,}/{total:,}" if total else ""))
            return bars
        speed = "  ".join(part for part in (_left(course), _speed(course)) if part)
        bars.add_row(
            text(f"{self._stage:<8}"),
            ProgressBar(total=course.epochs, completed=course.position, width=_BAR),
            text(f"{course.epoch}/{course.epochs} epochs"),
            text(speed),
        )
        if course.batches:
            bars.add_row(
                text("  epoch"),
                ProgressBar(total=course.batches, completed=course.batch, width=_BAR),
                text(f"{course.batch}/{course.batches} batches"),
                text(_joined(course.step_shown)),
            )
        return Group(bars, text(f"{'':<9}{_numbers(course)}"), text(f"{'':<9}{_best(course)}"))


def _numbers(course: Course) -> str:
    names = dict.fromkeys([*_HEADLINE, course.monitor])
    return _joined({name: course.shown[name] for name in names if name in course.shown})


def _joined(numbers: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items() if value is not None)


def _best(course: Course) -> str:
    return f"best {course.monitor} {course.best[0]:.4g} at epoch {course.best[1]}" if course.best else ""


def _speed(course: Course) -> str:
    rate = course.rows_per_s()
    return f"{rate:,.0f} rows/s" if rate is not None else ""


def _left(course: Course) -> str:
    left_s = course.left_s()
    return f"{timedelta(seconds=round(left_s))} left" if left_s is not None else ""
