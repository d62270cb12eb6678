"""What single steps gave: their losses and gradient norms, smoothed, and the learning rates they were taken with."""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.monitoring.monitor import Monitor
from pipeline.tracking import Tracker
from pipeline.training.state import FitState

_DECAY = 0.98  # about the last 50 steps
_FEWEST = 10
_AT_ONCE = 512  # values


class LearningRates(Monitor):
    """Records `lr/<group>` for each group of the optimizer: the rate of the epoch's last step."""

    name = "learning_rate"

    def __init__(self, tracker: Tracker) -> None:
        """Record to `tracker`."""
        self._tracker = tracker
        self._rates: dict[str, float] = {}

    def before_validation(self, state: FitState) -> None:
        """Read the rates, which the schedule changes for the next epoch."""
        groups = zip(state.flat.groups, state.optimizer.param_groups, strict=True)
        self._rates = {f"lr/{group.name}": float(settings["lr"]) for group, settings in groups}

    def look(self, state: FitState) -> None:
        """Record them."""
        if self._rates:
            self._tracker.metrics(self._rates, step=state.epoch)


class StepLosses(Monitor):
    """Records `train/loss_of_steps` and `train/gradient_norm_of_steps`: curves over steps, `points` of them for each epoch.

    Each is an exponential moving average that goes on from epoch to epoch, corrected for its start at zero (Kingma and Ba
    2015); steps that are not finite are left out of it. The gradient's norm is the one before clipping.
    """

    name = "step_losses"

    def __init__(self, tracker: Tracker, *, points: int) -> None:
        """points: kept of an epoch, at most."""
        self._tracker, self._points = tracker, points
        self._averages = {"train/loss_of_steps": Average(_DECAY), "train/gradient_norm_of_steps": Average(_DECAY)}

    def look(self, state: FitState) -> None:
        """Record the epoch's curves."""
        losses, norms = torch.stack(state.done.per_batch()).double().cpu().numpy()
        count = len(losses)
        kept = np.unique(np.linspace(0, count - 1, min(self._points, count)).round().astype(int))
        if len(kept) == 1:
            kept = np.array([count - 1])
        steps = (state.step - count + 1 + kept).tolist()
        curves = {}
        for (name, average), values in zip(self._averages.items(), (losses, norms), strict=True):
            curves[name] = (steps, average.follow(values)[kept].tolist())
        self._tracker.series(curves, step=state.epoch)

    def coarser(self) -> str | None:
        """Keep half as many points."""
        if self._points <= _FEWEST:
            return None
        self._points = max(_FEWEST, self._points // 2)
        return f"epoch, {self._points} points"


class Average:
    """An exponential moving average without the pull of its start at zero."""

    def __init__(self, decay: float) -> None:
        """decay: share of the old average that a value keeps."""
        self._decay, self._sum, self._weight = decay, 0.0, 0.0

    def follow(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the average after each of `values` (n,); before the first finite one it is NaN."""
        finite = np.isfinite(values)
        numbers = values[finite]
        parts = [np.array([self._sum / self._weight if self._weight else np.nan])]  # before any of them
        parts += [self._follow(numbers[start : start + _AT_ONCE]) for start in range(0, len(numbers), _AT_ONCE)]
        after: NDArray[np.float64] = np.concatenate(parts)[np.cumsum(finite)]
        return after

    def _follow(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unroll the recursion into one cumulative sum; the powers of the decay stay small over at most 512 values."""
        powers = self._decay ** np.arange(1, len(values) + 1)
        shares = (1 - self._decay) / powers
        totals = powers * (self._sum + np.cumsum(shares * values))
        weights = powers * (self._weight + np.cumsum(shares))
        self._sum, self._weight = float(totals[-1]), float(weights[-1])
        return totals / weights
