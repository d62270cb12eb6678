"""The terminal: a progress bar and the last numbers while a stage works, one line when it is done.

Where the output is no terminal there are no bars: about ten plain lines for a training run, so that a log file stays short.
"""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipeline.tracking.journal import Record

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_LINES = 10


class Console:
    """Shows records; `line` prints one line without breaking a bar."""

    name = "console"

    def __init__(self, *, terminal: bool, write: Any = print) -> None:
        """Show bars on a terminal, plain lines elsewhere; `write` takes a line."""
        self._terminal, self._write = terminal, write
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        """Print one line."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
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
            self._begin(record.stage, int(record.values["steps"]), "")
        elif record.kind == "metrics" and record.step is not None and self._total:
            self._advance(record)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._task, self._total = None, None, 0

    def __enter__(self) -> Self:
        """Return the console."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the bar, however the work ended."""
        self.close()

    def _begin(self, stage: str, steps: int | None, now: str) -> None:
        self.close()
        self._total, self._started = steps or 0, time.monotonic()
        if self._terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            length = () if steps is None else (MofNCompleteColumn(), TimeRemainingColumn())
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), *length, TextColumn("{task.fields[now]}"))
            self._progress = Progress(*columns, transient=True)
            self._task = self._progress.add_task(f"{stage:<8}", total=steps, now=now)
            self._progress.start()

    def _advance(self, record: Record) -> None:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in _headline(record.values).items() if value is not None)
        step = record.step or 0
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, now=shown)
        elif step == 1 or step % max(1, self._total // _PLAIN_LINES) == 0:
            self._write(f"{record.stage:<8} epoch {step}/{self._total}  {shown}  [{time.monotonic() - self._started:.1f} s]")


def _headline(values: dict[str, Any]) -> dict[str, Any]:
    names = ("train/loss", "val/loss", "val/accuracy", "val/rmse", "lr")
    return {name: values[name] for name in names if name in values}
