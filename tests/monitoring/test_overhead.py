"""Monitors change no weight, cost no more than agreed, and never end a training."""

import contextlib
import time
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.train_sections import TrainConfig
from pipeline.errors import UserError
from pipeline.monitoring.budget import Budget
from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.overhead import Monitors
from pipeline.monitoring.undisturbed import undisturbed
from pipeline.tracking import Tracker
from pipeline.training import FitState
from pipeline.training.begin import begin
from pipeline.training.hooks import Hook
from pipeline.training.randomness import rng_state
from tests.monitoring.trainings import CNN, Begin, Collected, hooks_on, same_weights

EVERYTHING = ("monitor.images_every=1", "monitor.embedding=true", "monitor.layers_every_steps=3", "augment.crop_padding=1")


class Generators(Hook):
    """Notes where the random generators are after each epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def on_epoch_start(self, state: FitState) -> None:
        self.states.append(rng_state())


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_weights_are_the_same_bits_with_all_monitors_with_none_and_with_thinned_ones(training: Begin, ema: str) -> None:
    words = (*CNN, *EVERYTHING, "model.dropout=0.2", f"train.ema_decay={ema}", "train.epochs=3")
    bare, watched, thinned = (Generators() for _ in range(3))
    without = training("digits", *words).run(bare, monitored=False)
    all_of_them = training("digits", *words)
    state = all_of_them.run(watched)
    rare = training("digits", *words, "monitor.max_overhead=0.0001", clock=time.perf_counter).run(thinned)
    assert all_of_them.collected.events("monitor_failed") == []
    assert same_weights(without, state)
    assert same_weights(without, rare)
    for first, second in zip(bare.states, watched.states, strict=True):
        assert torch.equal(first["torch"], second["torch"])
        assert first["python"] == second["python"]
    numbers = [{k: v for k, v in line.items() if k != "seconds"} for line in without.history]
    assert numbers == [{k: v for k, v in line.items() if k != "seconds"} for line in state.history]


def test_no_hook_no_mode_and_no_buffer_is_left_changed(training: Begin) -> None:
    watched = training("digits", *CNN, *EVERYTHING)
    watched.monitors.on_fit_start(watched.state)
    net = watched.state.net
    net.train()
    next(module for module in net.modules() if isinstance(module, nn.Dropout)).eval()
    modes, buffers = [m.training for m in net.modules()], [b.clone() for b in net.buffers()]
    watched.run()
    net.train()
    next(module for module in net.modules() if isinstance(module, nn.Dropout)).eval()
    after = [b.clone() for b in net.buffers()]
    watched.monitors.on_fit_end(watched.state)
    assert hooks_on(net) == 0
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(first, second) for first, second in zip(after, net.buffers(), strict=True))
    assert not all(torch.equal(first, second) for first, second in zip(buffers, after, strict=True)), (
        "training itself moves them"
    )


class Noisy(nn.Module):
    """Draws numbers and counts its calls, in eval mode as well."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.layer(inputs) + torch.rand(())
        return out


@pytest.mark.parametrize("fails", [False, True])
def test_a_pass_for_looking_leaves_generators_buffers_average_and_modes(fails: bool) -> None:
    net = Noisy()
    state = begin(net.train(), TrainConfig(ema_decay=0.9))
    net.layer.eval()
    before, weights = rng_state(), state.flat.weights.clone()
    with contextlib.suppress(ZeroDivisionError), undisturbed(state):
        net(torch.ones(1, 2))
        assert not net.training
        if fails:
            raise ZeroDivisionError
    assert torch.equal(rng_state()["torch"], before["torch"])
    assert float(net.calls) == 0
    assert state.average is not None
    assert [float(t) for t in state.average.state_dict()["average"] if not t.ndim] == [0.0]
    assert torch.equal(state.flat.weights, weights)
    assert (net.training, net.layer.training) == (True, False)


class Trip(Hook):
    """Ends the training in an epoch's last step, when hooks wait for validation."""

    def __init__(self, steps: int) -> None:
        self.steps, self.hooks = steps, 0

    def on_batch_end(self, state: FitState) -> None:
        if state.batch == self.steps:
            self.hooks = hooks_on(state.net)
            raise KeyboardInterrupt


def test_hooks_are_removed_when_an_exception_ends_the_training(training: Begin) -> None:
    watched = training("digits", *CNN)
    trip = Trip(len(watched.parts.rows.train))
    with pytest.raises(KeyboardInterrupt), watched.monitors:
        from pipeline.training import fit

        rows = watched.parts.rows
        fit(watched.state, rows.train, rows.validation, watched.parts.objective, seed=0, hooks=[watched.monitors, trip])
    assert trip.hooks > 0
    assert hooks_on(watched.state.net) == 0


class Broken(Monitor):
    name = "broken"

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def look(self, state: FitState) -> None:
        self.calls += 1
        raise self.error


def test_a_monitor_that_fails_is_switched_off_with_one_event_and_training_goes_on(training: Begin) -> None:
    whole = training("iris", "train.epochs=4")
    broken, collected = Broken(ZeroDivisionError("no rows")), Collected()
    whole.monitors = Monitors([broken], Tracker("train", [collected]), max_overhead=0.05, steps=4)
    assert whole.run().epoch == 4
    assert broken.calls == 1
    assert collected.events("monitor_failed") == [
        {"name": "monitor_failed", "monitor": "broken", "why": "ZeroDivisionError: no rows"}
    ]


@pytest.mark.parametrize("error", [UserError("the user's"), KeyboardInterrupt()])
def test_what_is_meant_for_the_user_passes_through(training: Begin, error: BaseException) -> None:
    whole = training("iris")
    whole.monitors = Monitors([Broken(error)], whole.tracker, max_overhead=0.05, steps=4)
    with pytest.raises(type(error)):
        whole.run()


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Costly(Monitor):
    """Takes so many seconds a look."""

    gives_way = True

    def __init__(self, name: str, clock: Clock, seconds: float, every: int = 1) -> None:
        self.name, self.every, self.epochs = name, every, list[int]()
        self._clock, self._seconds = clock, seconds

    def look(self, state: FitState) -> None:
        self.epochs.append(state.epoch)
        self._clock.now += self._seconds


class Epoch(Hook):
    """An epoch takes a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_epoch_start(self, state: FitState) -> None:
        self._clock.now += 1.0


def test_a_look_waits_until_its_cost_fits_and_the_first_and_the_last_always_happen(training: Begin) -> None:
    clock, collected = Clock(), Collected()
    cheap, dear = Costly("cheap", clock, 0.02), Costly("dear", clock, 0.2)
    whole = training("iris", "train.epochs=30", "train.early_stopping.patience=null")
    tracker = Tracker("train", [collected])
    whole.monitors = Monitors([cheap, dear], tracker, max_overhead=0.05, steps=4, clock=clock)
    whole.run(Epoch(clock))
    assert cheap.epochs == list(range(1, 31)), "what is served first does not pay for what comes after it"
    assert dear.epochs[0] == 1
    assert dear.epochs[-1] == 30
    assert 3 <= len(dear.epochs) <= 6
    repeated = sum((cheap.epochs.count(epoch) * 0.02 + dear.epochs.count(epoch) * 0.2) for epoch in range(2, 30))
    assert repeated <= 0.05 * 30
    (told,) = collected.events("monitor_thinned")
    assert told["monitor"] == "dear"
    assert told["every"].startswith("about ")
    assert "a look takes 200 ms, an epoch 1e+03 ms" in told["why"]


def test_a_curve_of_numbers_keeps_all_of_its_points_however_short_an_epoch_is(training: Begin) -> None:
    clock = Clock()
    numbers, picture = Costly("numbers", clock, 0.5), Costly("picture", clock, 0.5)
    numbers.gives_way = False
    whole = training("iris", "train.epochs=10", "train.early_stopping.patience=null")
    whole.monitors = Monitors([numbers, picture], Tracker("train", [Collected()]), max_overhead=0.05, steps=4, clock=clock)
    whole.run(Epoch(clock))
    assert numbers.epochs == list(range(1, 11))
    assert picture.epochs == [1, 10]


def test_costs_are_recorded_each_epoch_by_monitor_and_as_a_share(training: Begin) -> None:
    clock, collected = Clock(), Collected()
    whole = training("iris", "train.epochs=3")
    monitors = [Costly("a", clock, 0.01), Costly("b", clock, 0.02, every=2)]
    whole.monitors = Monitors(monitors, Tracker("train", [collected]), max_overhead=0.5, steps=4, clock=clock)
    whole.run(Epoch(clock))
    found = collected.numbers("cost/")
    assert [epoch for epoch, _ in found["cost/a"]] == [1, 2, 3]
    assert [value for _, value in found["cost/a"]] == pytest.approx([0.01, 0.01, 0.01])
    assert [value for _, value in found["cost/b"]] == pytest.approx([0.02, 0.02, 0.0])
    assert [value for _, value in found["cost/share"]] == pytest.approx([0.0, 0.03, 0.03, 0.07 / 3])


def test_a_budget_says_how_often_a_look_fits() -> None:
    budget = Budget(0.1, ("a", "b"))
    for _ in range(10):
        budget.train(1.0)
    budget.spend("b", 0.9)
    budget.last_s["b"] = 0.3
    assert not budget.affords("b")
    assert budget.affords("a")
    assert budget.epochs_between("b") == 3


def test_every_monitor_can_be_switched_off(training: Begin) -> None:
    off = ["per_class=false", "layers=false", "activations=false", "step_losses=0", "histograms_every=null"]
    off += ["images_every=null", "graph=false"]
    quiet = training("digits", *CNN, *(f"monitor.{word}" for word in off))
    quiet.run()
    assert set(quiet.collected.numbers("cost/")) == {"cost/share", "cost/learning_rate", "cost/layer_table"}
    assert {record.kind for record in quiet.collected.records} == {"metrics", "text"}


def test_a_step_without_a_look_costs_next_to_nothing(training: Begin) -> None:
    watched = training("iris", "monitor.layers_every_steps=1000")
    watched.monitors.on_fit_start(watched.state)
    watched.state.batch = 2
    best = min(_seconds(watched.monitors, watched.state, time.perf_counter) for _ in range(20))
    assert best < 2e-6, "measured at 0.2 us; ten times that is a look in each step"


def _seconds(monitors: Monitors, state: FitState, clock: Any) -> float:
    started = clock()
    for _ in range(1000):
        monitors.on_gradients(state)
        monitors.on_batch_end(state)
    return float(clock() - started) / 1000
