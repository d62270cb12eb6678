"""Curves over steps, learning rates and distributions are those of the steps that were taken."""

import math

import numpy as np
import pytest
import torch

from pipeline.monitoring.distributions import histograms_of
from pipeline.monitoring.layers import Segment
from pipeline.monitoring.steps import Average, StepLosses
from pipeline.tracking import Tracker
from pipeline.training import FitState
from pipeline.training.hooks import Hook
from tests.monitoring.trainings import Begin, Collected


def test_the_average_is_the_recursion_debiased_however_it_is_cut() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 1300)
    values[[0, 7, 700]] = math.nan
    expected, total, weight = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            total, weight = 0.9 * total + 0.1 * value, 0.9 * weight + 0.1
        expected.append(total / weight if weight else math.nan)
    for sizes in ([1300], [1, 1299], [600, 1, 699]):
        average = Average(0.9)
        found = np.concatenate([average.follow(part) for part in np.split(values, np.cumsum(sizes)[:-1])])
        np.testing.assert_allclose(found, expected, rtol=1e-9)


class Losses(Hook):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_epoch_end(self, state: FitState) -> None:
        self.values += [float(loss) for loss in state.done.losses]


@pytest.mark.parametrize(("points", "expected"), [(100, [1, 2, 3, 4, 5]), (3, [1, 3, 5]), (1, [5])])
def test_points_are_even_and_at_the_steps_of_the_whole_fit(training: Begin, points: int, expected: list[int]) -> None:
    whole, losses = training("iris", f"monitor.step_losses={points}", "train.batch_size=20", "train.epochs=3"), Losses()
    state = whole.run(losses)
    steps = state.step // 3
    smooth = Average(0.98).follow(np.asarray(losses.values))
    for epoch, record in enumerate(whole.collected.of("series")):
        found, numbers = record.values["train/loss_of_steps"]
        assert steps == 5
        assert found == [steps * epoch + step for step in expected]
        assert numbers == pytest.approx([smooth[step - 1] for step in found])
        assert set(record.values) == {"train/loss_of_steps", "train/gradient_norm_of_steps"}


def test_fewer_points_are_kept_where_they_cost_too_much() -> None:
    monitor = StepLosses(Tracker("train", [Collected()]), points=100)
    assert [monitor.coarser() for _ in range(5)] == [
        "epoch, 50 points",
        "epoch, 25 points",
        "epoch, 12 points",
        "epoch, 10 points",
        None,
    ]


def test_the_rate_of_each_group_is_the_one_of_the_epochs_last_step(training: Begin) -> None:
    whole = training("iris", "train.schedule.name=cosine", "train.epochs=3")
    state = whole.run()
    found = whole.collected.numbers("lr/")
    assert set(found) == {"lr/weights", "lr/norms and biases"}
    assert [value for _, value in found["lr/weights"]] == pytest.approx([line["lr"] for line in state.history])


def test_histograms_are_numpys() -> None:
    numbers = torch.randn(5000)
    numbers[100:103] = 7.0  # a parameter of one value
    numbers[200] = math.nan
    segments = [Segment("a", 0, 100), Segment("same", 100, 103), Segment("nan", 150, 300), Segment("b", 300, 5000)]
    first, same, broken, last = histograms_of(numbers, segments)
    assert broken is None
    assert same is not None
    assert (list(same.edges), list(same.counts)) == ([7.0], [3])
    for histogram, segment in ((first, segments[0]), (last, segments[3])):
        assert histogram is not None
        values = numbers[segment.start : segment.stop].double().numpy()
        counts, edges = np.histogram(values, 64)
        assert sum(histogram.counts) == histogram.count == len(values)
        assert np.abs(np.cumsum(histogram.counts) - np.cumsum(counts)).max() <= 1, "a number may lie on an edge"
        np.testing.assert_allclose(histogram.edges, edges[1:], atol=1e-6)
        assert histogram.total == pytest.approx(values.sum(), rel=1e-4, abs=1e-3)
        assert histogram.total_of_squares == pytest.approx((values**2).sum(), rel=1e-4)


def test_histograms_come_every_so_many_epochs_first_and_last_included(training: Begin) -> None:
    whole = training("iris", "monitor.histograms_every=3", "train.epochs=7")
    state = whole.run()
    found = whole.collected.of("histograms")
    assert [record.step for record in found] == [1, 3, 6, 7]
    names = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in state.flat.parameters}
    assert all(set(record.values) == names for record in found)
