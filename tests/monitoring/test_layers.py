"""Numbers of layers are those that a look of one's own would find."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.train_sections import TrainConfig
from pipeline.monitoring.activations import Activations, activation_layers
from pipeline.monitoring.layers import segments_of
from pipeline.tracking import Tracker
from pipeline.training import FitState
from pipeline.training.batches import InMemory
from pipeline.training.begin import begin
from pipeline.training.hooks import Hook
from tests.monitoring.trainings import CNN, Begin, Collected, hooks_on


class Plain(Hook):
    """Takes the same looks with plain torch."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.looks: list[dict[str, tuple[float, ...]]] = []
        self.before: dict[str, torch.Tensor] = {}

    def on_gradients(self, state: FitState) -> None:
        self.before = {name: p.detach().clone() for name, p in state.net.named_parameters()}
        self.gradients = {name: p.grad.clone() for name, p in state.net.named_parameters() if p.grad is not None}

    def on_batch_end(self, state: FitState) -> None:
        if (state.batch - 1) % self.every:
            return
        look: dict[str, tuple[float, ...]] = {}
        for name, parameter in state.net.named_parameters():
            gradient, weight = self.gradients[name].double(), self.before[name].double()
            change = float((parameter.detach().double() - weight).norm())
            ratio = change / float(weight.norm()) if weight.norm() else math.nan
            look[name] = (
                float(gradient.norm()),
                float(gradient.mean()),
                float(gradient.var(correction=0)),
                float(weight.norm()),
                ratio,
            )
        self.looks.append(look)


KINDS = ("gradient_norm", "gradient_mean", "gradient_variance", "weight_norm", "update_ratio")


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("most", [3_000_000, 1])
def test_each_number_is_the_mean_over_the_looks_of_an_epoch(
    training: Begin, monkeypatch: pytest.MonkeyPatch, optimizer: str, most: int
) -> None:
    monkeypatch.setattr("pipeline.monitoring.layers._MOST_NUMBERS", most)
    words = (*CNN, "monitor.layers_every_steps=10", "train.clip_norm=0.1", f"train.optimizer.name={optimizer}")
    watched, plain = training("digits", *words, "train.epochs=1"), Plain(10)
    watched.run(plain)
    assert len(plain.looks) == 4, "of 37 steps"
    for index, kind in enumerate(KINDS):
        found = watched.collected.numbers(f"{kind}/")
        for name in watched.state.flat.parameters:
            values = [look[name][index] for look in plain.looks if math.isfinite(look[name][index])]
            expected = sum(values) / len(values)
            ((epoch, value),) = found[f"{kind}/{name}"]
            assert epoch == 1
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-8), kind
        assert len(found) == len(watched.state.flat.parameters)


def test_a_parameter_of_zeros_has_no_ratio_until_it_moved(training: Begin) -> None:
    watched = training("iris", "monitor.layers_every_steps=1000", "train.epochs=1")
    with torch.no_grad():
        next(p for name, p in watched.state.flat.parameters.items() if name.endswith("bias")).zero_()
    watched.run()
    ratios = watched.collected.numbers("update_ratio/")
    assert len(ratios) == len(watched.state.flat.parameters) - 1


def test_segments_name_each_parameters_numbers() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2)).to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )
    state = begin(net, TrainConfig())
    places = segments_of(state.flat)
    assert [place.name for place in places] == [name for name, _ in net.named_parameters()]
    for place, parameter in zip(places, net.parameters(), strict=True):
        numbers = state.flat.weights[place.start : place.stop].sort().values
        assert torch.equal(numbers, parameter.detach().flatten().sort().values)


class Many(nn.Module):
    """One of each kind, one of them called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.head, self.tanh, self.out, self.bounded = nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), nn.Hardtanh(-0.5, 0.5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.relu(self.norm(self.conv(inputs))).mean(dim=(2, 3))
        out: torch.Tensor = self.out(self.tanh(self.relu(self.head(features))))
        return self.bounded(out)  # type: ignore[no-any-return]


def look(net: nn.Module, rows: torch.Tensor) -> tuple[Activations, FitState, Collected]:
    state = begin(net, TrainConfig())
    collected = Collected()
    monitor = Activations(net, InMemory(rows, torch.zeros(len(rows)).long(), 1024), Tracker("train", [collected]))
    return monitor, state, collected


def test_a_dead_channel_and_a_dead_feature_are_counted() -> None:
    net = Many()
    with torch.no_grad():
        net.norm.bias[:2], net.norm.weight[:2] = -100.0, 0.1  # two of four channels never fire
        net.head.bias[:], net.head.weight[:] = torch.tensor([9.0, 9, 9, -9, -9, -9]), 0.0
    monitor, state, collected = look(net, torch.randn(300, 1, 6, 6))
    monitor.look(state)
    numbers = {name: value for record in collected.of("metrics") for name, value in record.values.items()}
    assert numbers["dead/relu"] == pytest.approx((2 / 4 + 3 / 6) / 2), "the mean over both calls"
    assert numbers["saturated/tanh"] == pytest.approx(3 / 6)
    assert numbers["near_zero/tanh"] == pytest.approx(3 / 6)
    assert set(numbers) == {
        "dead/relu",
        "near_zero/relu",
        "near_zero/tanh",
        "saturated/tanh",
        "near_zero/bounded",
        "saturated/bounded",
    }
    assert hooks_on(net) == 0


def test_only_the_first_256_rows_of_validation_are_looked_at_and_the_pass_is_not_repeated() -> None:
    first = nn.Linear(1, 2)
    net = nn.Sequential(first, nn.ReLU())
    with torch.no_grad():
        first.weight[:], first.bias[:] = torch.tensor([[1.0], [-1.0]]), 0.0
    rows = torch.cat([torch.ones(256, 1), -torch.ones(100, 1)])  # the second unit fires for the last 100 rows alone
    monitor, state, collected = look(net, rows)
    calls: list[int] = []
    net.register_forward_hook(lambda *_: calls.append(1))
    monitor.before_validation(state)
    with torch.no_grad():
        net.eval()(rows)
        net(rows * 0)
    monitor.look(state)
    assert len(calls) == 2
    assert collected.numbers("dead/")["dead/1"] == [(0, 0.5)]


def test_an_activation_that_cannot_be_measured_ends_in_the_monitors_own_error_not_in_validations() -> None:
    class Pair(nn.ReLU):
        def forward(self, input: Any) -> Any:  # noqa: A002
            return {"out": input}

    net = nn.Sequential(nn.Linear(1, 1), Pair())
    monitor, state, _ = look(net, torch.ones(2, 1))
    monitor.before_validation(state)
    assert "out" in net(torch.ones(2, 1))
    with pytest.raises(TypeError):
        monitor.look(state)


def test_features_behind_a_linear_layer_are_its_units_whatever_the_shape() -> None:
    net = nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU(), nn.Linear(5, 7), nn.GELU())
    assert [(layer.name, layer.last, layer.can_die) for layer in activation_layers(net)] == [
        ("1", False, True),
        ("3", True, False),
    ]
