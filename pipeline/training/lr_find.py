"""Which learning rate to begin with: the range test of Smith 2017 ("Cyclical Learning Rates for Training Neural Networks").

found = lr_range(parts, config.train, seed=config.seed)
found.steepest      # where the loss fell fastest: a good `train.lr`; None when it never fell

A copy of the network is trained with a learning rate that rises exponentially, a little in each step, with the optimizer, the
batches, the augmentation and the precision of the real training. Too small rates leave the loss as it is, good ones make it
fall, too large ones make it explode.
"""

import copy
import itertools
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.train_sections import TrainConfig
from pipeline.training.assembly import Assembly
from pipeline.training.begin import begin
from pipeline.training.randomness import kept_rng
from pipeline.training.state import FitState
from pipeline.training.step import Step

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 160  # 20 steps for each factor of ten
_KEPT = 0.9  # share of the moving average that a step keeps
_DIVERGED = 4.0  # times the lowest loss so far
_SETTLED = 10  # first steps that the average needs to mean something
_FALLEN = 0.02  # share of the loss at the start: a smaller fall is noise
_WINDOW = 21  # steps over which a slope is measured, about a factor of ten: batches differ more than two steps do


@dataclass(frozen=True)
class LrRange:
    """What the test saw. rates, losses, smooth: (steps,), up to the end or to the explosion; smooth: moving average.

    steepest: rate at which `smooth` fell fastest. tenth: a tenth of the rate at its lowest. Both None when it never fell.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    steepest: float | None
    tenth: float | None

    @property
    def exploded(self) -> bool:
        """Whether the loss grew out of bounds before the highest rate."""
        return len(self.rates) < STEPS


def lr_range(parts: Assembly, config: TrainConfig, *, seed: int) -> LrRange:
    """Run the test on a copy; `parts` and all generators stay as they are."""
    with kept_rng():
        state = begin(copy.deepcopy(parts.state.net), config, parts=parts.state.parts, autocast=parts.options.autocast)
        state.average = None
        with closing(_endless(parts, seed)) as batches:
            rates, losses, smooth = _rise(parts, state, batches)
    steepest, lowest = _marks(rates, smooth)
    return LrRange(rates, losses, smooth, steepest, lowest / 10 if lowest else None)


def _rise(
    parts: Assembly, state: FitState, batches: Iterator[tuple[Tensor, Tensor]]
) -> tuple[list[float], list[float], list[float]]:
    """Train with rising rates; return rates, losses and their moving average, each (steps,)."""
    step = Step(state, parts.objective.loss, parts.options)
    rates: list[float] = []
    losses: list[float] = []
    smooth: list[float] = []
    average, best = 0.0, math.inf
    state.net.train()
    for index in range(STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (index / (STEPS - 1))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        loss = step.gradients(*next(batches))[1].item()
        if not math.isfinite(loss):
            break
        average = _KEPT * average + (1 - _KEPT) * loss
        rates.append(rate)
        losses.append(loss)
        smooth.append(average / (1 - _KEPT ** (index + 1)))  # the average begins at 0, which is divided out
        best = min(best, smooth[-1])
        if index >= _SETTLED and smooth[-1] > _DIVERGED * best:
            break
        step.update()
    return rates, losses, smooth


def _endless(parts: Assembly, seed: int) -> Generator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch after the other."""
    for epoch in itertools.count(1):
        yield from parts.rows.train.shuffled(seed=seed, epoch=epoch)


def _marks(rates: list[float], smooth: list[float]) -> tuple[float | None, float | None]:
    """Return the rates at the steepest descent and at the lowest loss."""
    if len(smooth) <= _SETTLED + 1:
        return None, None
    values, places = np.array(smooth[_SETTLED:]), np.log10(rates[_SETTLED:])
    lowest = int(values.argmin())
    if values[lowest] > values[0] * (1 - _FALLEN):
        return None, None
    slopes = [_slope(values, places, middle) for middle in range(lowest + 1)]
    return rates[_SETTLED + int(np.argmin(slopes))], rates[_SETTLED + lowest]


def _slope(values: NDArray[np.float64], places: NDArray[np.float64], middle: int) -> float:
    """Return the slope of a straight line through the values around one; fewer at both ends."""
    around = slice(max(0, middle - _WINDOW // 2), middle + _WINDOW // 2 + 1)
    far = places[around] - places[around].mean()
    return float((far * values[around]).sum() / (far * far).sum())
