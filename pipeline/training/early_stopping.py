"""Which epoch is best, and when waiting for a better one has no end."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.metrics.tasks import lower_is_better
from pipeline.training.hooks import Hook

if TYPE_CHECKING:
    from pipeline.training.state import FitState


def monitored(epoch: Mapping[str, Any], monitor: str) -> float:
    """Return the watched number of an epoch; raise UserError when there is none of that name."""
    if monitor not in epoch:
        known = ", ".join(name for name in epoch if "/" in name)
        raise UserError(f"train.early_stopping.monitor: no metric is called {monitor!r}; there are: {known}")
    return float(epoch[monitor])


class EarlyStopping(Hook):
    """Watches one number of the history.

    After each epoch `improved` says whether it was the best so far. A value that is not finite is never best.
    """

    def __init__(self, monitor: str, *, patience: int | None, min_delta: float) -> None:
        """monitor: such as `val/loss`. patience: epochs without improvement before the stop; None: no stop."""
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.best_epoch, self.best_value = 0, math.nan
        self.waited, self.improved = 0, False
        self._sign = 1.0 if lower_is_better(monitor) else -1.0

    def on_epoch_end(self, state: "FitState") -> None:
        """Judge the epoch."""
        value = monitored(state.history[-1], self.monitor)
        self.improved = math.isfinite(value) and (
            self.best_epoch == 0 or self._sign * value < self._sign * self.best_value - self.min_delta
        )
        if self.improved:
            self.best_epoch, self.best_value, self.waited = state.epoch, value, 0
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            state.stop = "early_stopping"

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"best_epoch": self.best_epoch, "best_value": self.best_value, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.best_epoch, self.best_value, self.waited = (state[name] for name in ("best_epoch", "best_value", "waited"))
