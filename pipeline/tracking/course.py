"""How far a training is, how fast, how long it still takes, and which epoch was best: numbers for the console, no drawing."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from pipeline.tracking.records import Record

_WINDOW_S = 10.0  # over which the rows per second are measured
_SOONEST_S = 2.0  # before that, what is left cannot be told from what was


class Course:
    """Follows one training from its `work_started` event on; positions are in epochs, with fractions."""

    def __init__(self, values: dict[str, Any], clock: Callable[[], float]) -> None:
        """Start at epoch 0.

        values: of the event: `steps`, the number of epochs, and perhaps `rows` and `batches` of one epoch, and `best`, the name
        of the metric that decides, with its `mode`, min or max.
        """
        self.epochs = int(values["steps"])
        self.batches: int | None = values.get("batches")
        self.monitor: str | None = values.get("best")
        self.best: tuple[float, int] | None = None  # its best value, and the epoch
        self.epoch, self.batch = 0, 0  # done
        self.shown: dict[str, Any] = {}  # the last epoch's numbers
        self.step_shown: dict[str, float] = {}  # the last step's
        self._rows: int | None = values.get("rows")
        self._sign = -1.0 if values.get("mode") == "max" else 1.0
        self._clock = clock
        self._from, self._started_s = 0.0, clock()
        self._recent: deque[tuple[float, float]] = deque([(self._started_s, 0.0)])  # (time in s, position)

    @property
    def position(self) -> float:
        """Epochs that are done."""
        return self.epoch + (self.batch / self.batches if self.batches else 0.0)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of this process's part."""
        return self._clock() - self._started_s

    def resumed(self, values: dict[str, Any]) -> None:
        """Go on from where a training was interrupted: `epoch` in work with `batch` of its batches done, or done with none."""
        self.epoch, self.batch = int(values["epoch"]), int(values.get("batch") or 0)
        if self.batch:
            self.epoch -= 1
        if values.get("best_value") is not None:
            self.best = (float(values["best_value"]), int(values["best_epoch"]))
        self._from, self._started_s = self.position, self._clock()
        self._recent = deque([(self._started_s, self._from)])

    def advanced(self, done: int, total: int, shown: dict[str, float]) -> None:
        """Note that `done` of `total` batches of the epoch are done."""
        self.batch, self.batches, self.step_shown = done, total, shown
        self._note()

    def finished_epoch(self, record: Record) -> None:
        """Note an epoch's numbers; several records of one epoch add up."""
        epoch = record.step or 0
        self.shown = {**self.shown, **record.values} if epoch == self.epoch else record.values
        self.epoch, self.batch, self.step_shown = epoch, 0, {}
        value = self.shown.get(self.monitor or "")
        if value is not None and math.isfinite(value) and (self.best is None or self._sign * (value - self.best[0]) < 0):
            self.best = (float(value), epoch)
        self._note()

    def left_s(self) -> float | None:
        """Return how many seconds the remaining epochs take at the pace so far; None while it cannot be told."""
        done = self.position - self._from
        if done <= 0 or self.elapsed_s < _SOONEST_S:
            return None
        return (self.epochs - self.position) * self.elapsed_s / done

    def rows_per_s(self) -> float | None:
        """Return the training rows per second of late, validation's time included; None where their number is unknown."""
        (first_s, first), (last_s, last) = self._recent[0], self._recent[-1]
        if self._rows is None or last_s <= first_s:
            return None
        return self._rows * (last - first) / (last_s - first_s)

    def _note(self) -> None:
        now = self._clock()
        self._recent.append((now, self.position))
        while len(self._recent) > 2 and self._recent[1][0] < now - _WINDOW_S:
            self._recent.popleft()
