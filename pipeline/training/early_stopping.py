"""Which epoch is best, and when waiting for a better one has no end."""

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import UserError
from pipeline.metrics.tasks import lower_is_better
from pipeline.training.hooks import Hook

if TYPE_CHECKING:
    from pipeline.training.state import FitState

Mode = Literal["auto", "min", "max"]


def monitored(epoch: Mapping[str, Any], monitor: str) -> float:
    """Return the watched number of an epoch; raise UserError when there is none of that name."""
    if monitor not in epoch:
        known = [name for name in epoch if "/" in name]
        close = difflib.get_close_matches(monitor, known, n=1)
        hint = f"did you mean {close[0]!r}? there are" if close else "there are"
        raise UserError(f"train.early_stopping.monitor: no metric is called {monitor!r}; {hint}: {', '.join(known)}")
    return float(epoch[monitor])


class EarlyStopping(Hook):
    """Watches one number of the history.

    After each epoch `improved` says whether it was the best so far. A value that is not finite is never best. `state.stop`
    becomes `early_stopping`, or `monitor_not_finite`.
    """

    def __init__(
        self,
        monitor: str,
        *,
        patience: int | None,
        min_delta: float = 0.0,
        relative: bool = False,
        mode: Mode = "auto",
        warmup_epochs: int = 0,
        stop_when_not_finite: bool = False,
    ) -> None:
        """Watch `monitor`, such as `val/loss`.

        patience: epochs without improvement before the stop; None: no stop. min_delta: what an improvement must be for that, in
        the monitor's unit, or a share of the value where `relative`. warmup_epochs: these do not count as waiting.
        """
        self.monitor, self.patience, self.min_delta, self.relative = monitor, patience, min_delta, relative
        self.mode: Mode = mode if mode != "auto" else ("min" if lower_is_better(monitor) else "max")
        self.warmup_epochs, self.stop_when_not_finite = warmup_epochs, stop_when_not_finite
        self.best_epoch, self.best_value = 0, math.nan
        self.waited, self.improved = 0, False
        self._waiting_from = math.nan  # the value that patience compares with

    def on_epoch_end(self, state: "FitState") -> None:
        """Judge the epoch."""
        value = monitored(state.history[-1], self.monitor)
        self.improved = math.isfinite(value) and (self.best_epoch == 0 or self._better(value, self.best_value))
        if self.improved:
            self.best_epoch, self.best_value = state.epoch, value
            since = self._waiting_from
            if math.isnan(since) or self._better(value, since, self.min_delta * (abs(since) if self.relative else 1.0)):
                self._waiting_from, self.waited = value, 0
                return
        if not math.isfinite(value) and self.stop_when_not_finite:
            state.stop = "monitor_not_finite"
            return
        self.waited += state.epoch > self.warmup_epochs
        if self.patience is not None and self.waited >= self.patience:
            state.stop = "early_stopping"

    def _better(self, value: float, than: float, least: float = 0.0) -> bool:
        return value < than - least if self.mode == "min" else value > than + least

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        best = {"best_epoch": self.best_epoch, "best_value": self.best_value}
        return {**best, "waited": self.waited, "waiting_from": self._waiting_from}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.best_epoch, self.best_value, self.waited = (state[name] for name in ("best_epoch", "best_value", "waited"))
        self._waiting_from = state["waiting_from"]
