"""Runs the monitors, keeps the books on what they cost, and keeps them from costing too much, or training its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from pipeline.errors import SlipwayError
from pipeline.monitoring.budget import Budget
from pipeline.monitoring.monitor import Monitor
from pipeline.tracking import Tracker
from pipeline.training.hooks import Hook
from pipeline.training.state import FitState
from serving.errors import first_line

_SHARE_OF_ONE = 1 / 3  # of an epoch's budget; a monitor above that takes fewer looks before others must skip epochs


class Monitors(Hook):
    """All monitors of a training as one hook; it stands behind the hook that reports the history.

    With `with monitors:` around `fit`, nothing of theirs stays on the network when training ends by an exception.

    A monitor that fails is switched off, with one event `monitor_failed`. One whose next look would cost more than is left
    waits, with one event `monitor_thinned`; the first look and the one after the last epoch always happen. Of each epoch,
    `cost/<monitor>` has the seconds that it took, and `cost/share` what all took so far, as a share of training time.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor],
        tracker: Tracker,
        *,
        max_overhead: float,
        steps: int,
        step_monitor: "StepMonitor | None" = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Run `monitors`, in this order, which is also the order in which the budget serves them.

        steps: in an epoch. step_monitor: the one of them that also looks at single steps.
        """
        self._monitors, self._tracker, self._clock, self._last = list(monitors), tracker, clock, steps
        self.step_monitor, self._every_steps = step_monitor, step_monitor.every_steps if step_monitor else steps + 1
        self._before = [m for m in monitors if type(m).before_validation is not Monitor.before_validation]
        self._looking = [m for m in monitors if type(m).look is not Monitor.look]
        self._budget = Budget(max_overhead, tuple(monitor.name for monitor in monitors))
        self._seen: dict[str, int] = {}  # epoch of each monitor's last look
        self._prepared: set[str] = set()  # will look at this epoch, and know it
        self._thinned: set[str] = set()
        self._in_epoch_s: dict[str, float] = {}
        self._since_s = 0.0

    def on_fit_start(self, state: FitState) -> None:
        """Look at the network, unless a resumed training already did."""
        # What loads with a tracker's first number is not the monitors' cost.
        self._tracker.metrics({"cost/share": 0.0}, step=0)
        if state.step == 0:
            for monitor in list(self._monitors):
                self._guarded(monitor, monitor.at_start, state)
            took_s = {
                f"cost/{m.name}": self._in_epoch_s[m.name] for m in self._monitors if type(m).at_start is not Monitor.at_start
            }
            if took_s:
                self._tracker.metrics(took_s, step=0)
        self._in_epoch_s = {}
        self._since_s = self._clock()

    def on_gradients(self, state: FitState) -> None:
        """Look at a step, every so many; otherwise this costs a division."""
        if state.batch % self._every_steps == 0 and self.step_monitor is not None:
            self._guarded(self.step_monitor, self.step_monitor.before_step, state)

    def on_batch_end(self, state: FitState) -> None:
        """Finish the look at a step; get ready for validation after the last one."""
        if (state.batch - 1) % self._every_steps == 0 and self.step_monitor is not None:
            self._guarded(self.step_monitor, self.step_monitor.after_step, state)
        if state.batch == self._last:
            self._prepared = {monitor.name for monitor in self._before if self._turn(monitor, state)}
            for monitor in list(self._before):
                if monitor.name in self._prepared:
                    self._guarded(monitor, monitor.before_validation, state)

    def on_epoch_end(self, state: FitState) -> None:
        """Let monitors look whose turn it is and whose cost fits; record what they took."""
        self._budget.train(self._clock() - self._since_s - sum(self._in_epoch_s.values()))
        in_steps_s = dict(self._in_epoch_s)
        for monitor in list(self._looking):
            if monitor.name in self._prepared or (monitor not in self._before and self._turn(monitor, state)):
                self._look(monitor, state, in_steps_s.get(monitor.name, 0.0))
        self._prepared = set()
        started = self._clock()
        costs = {f"cost/{monitor.name}": self._in_epoch_s.get(monitor.name, 0.0) for monitor in self._looking}
        self._tracker.metrics({**costs, "cost/share": self._budget.share_so_far}, step=state.epoch)
        self._in_epoch_s, self._since_s = {}, self._clock()
        self._budget.told_s += self._since_s - started

    def on_fit_end(self, state: FitState) -> None:
        """Let monitors look that did not look at the last epoch, then at the whole."""
        for monitor in list(self._monitors):
            if state.validated is not None and monitor in self._looking and self._seen.get(monitor.name) != state.epoch:
                self._guarded(monitor, monitor.look, state)
            if monitor in self._monitors:
                self._guarded(monitor, monitor.at_end, state)
        self.close()

    def conclude(self, monitor: Monitor, state: FitState) -> None:
        """Let one more monitor look at the whole, after training; then record what all of them took."""
        self._guarded(monitor, monitor.at_end, state)
        spent_s = {name: round(seconds, 6) for name, seconds in self._budget.spent_s.items()}
        self._tracker.event(
            "monitors_took", seconds=spent_s, training_s=self._budget.trained_s, share=self._budget.share_so_far
        )

    def close(self) -> None:
        """Remove everything from the network."""
        for monitor in self._monitors:
            monitor.close()

    @property
    def spent_s(self) -> Mapping[str, float]:
        """Seconds that each monitor took so far."""
        return self._budget.spent_s

    @property
    def trained_s(self) -> float:
        """Seconds that training itself took."""
        return self._budget.trained_s

    def __enter__(self) -> Self:
        """Return the hook."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove everything from the network."""
        self.close()

    def _turn(self, monitor: Monitor, state: FitState) -> bool:
        """Return whether a monitor looks at this epoch."""
        seen = self._seen.get(monitor.name)
        if seen is None:
            return True
        if state.epoch // monitor.every <= seen // monitor.every:
            return False
        if not monitor.gives_way or self._budget.affords(monitor.name):
            return True
        every = self._budget.epochs_between(monitor.name)
        if every > monitor.every:
            self._tell_thinned(monitor, f"about {every} epochs")
        return False

    def _look(self, monitor: Monitor, state: FitState, in_steps_s: float) -> None:
        before_s = self._in_epoch_s.get(monitor.name, 0.0)
        self._guarded(monitor, monitor.look, state)
        first = monitor.name not in self._seen
        self._seen[monitor.name] = state.epoch
        took_s = self._in_epoch_s.get(monitor.name, 0.0)
        self._budget.last_s[monitor.name] = took_s
        limit_s = self._budget.epoch_limit_s * _SHARE_OF_ONE
        by_detail_s = in_steps_s if monitor is self.step_monitor else took_s - before_s
        if not first and by_detail_s > limit_s:  # the first look loads what the next ones find
            self._coarser(monitor)

    def _coarser(self, monitor: Monitor) -> None:
        now = monitor.coarser()
        if now is not None:
            self._tell_thinned(monitor, now)
        if monitor is self.step_monitor:
            self._every_steps = self.step_monitor.every_steps

    def _tell_thinned(self, monitor: Monitor, every: str) -> None:
        if monitor.name in self._thinned:
            return
        self._thinned.add(monitor.name)
        budget = self._budget
        look_ms, epoch_ms = budget.last_s.get(monitor.name, 0.0) * 1e3, budget.trained_s / max(1, budget.epochs) * 1e3
        why = f"a look takes {look_ms:.3g} ms, an epoch {epoch_ms:.3g} ms, and monitor.max_overhead is {budget.share:g}"
        self._tracker.event("monitor_thinned", monitor=monitor.name, every=every, why=why)

    def _guarded(self, monitor: Monitor, call: Callable[[FitState], None], state: FitState) -> None:
        """Call a monitor on the clock; one that fails is switched off, and training goes on."""
        started = self._clock()
        try:
            call(state)
        except SlipwayError:
            raise
        except Exception as error:  # a picture is not worth a training
            for among in (self._monitors, self._looking, self._before):
                if monitor in among:
                    among.remove(monitor)
            if monitor is self.step_monitor:
                self.step_monitor = None
            monitor.close()
            self._tracker.event("monitor_failed", monitor=monitor.name, why=first_line(error))
        finally:
            took_s = self._clock() - started
            self._in_epoch_s[monitor.name] = self._in_epoch_s.get(monitor.name, 0.0) + took_s
            self._budget.spend(monitor.name, took_s)


class StepMonitor(Monitor):
    """A monitor that looks at single steps, too. every_steps: steps between two looks; the first step of an epoch is one."""

    every_steps: int

    def before_step(self, state: FitState) -> None:
        """With gradients, before the weights change."""

    def after_step(self, state: FitState) -> None:
        """After the weights changed."""
