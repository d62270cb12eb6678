"""The moving average of the weights, the ways weights begin, and flat parameters that a network does not notice."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.train_sections import TrainConfig
from pipeline.errors import UserError
from pipeline.models.cnn import Cnn
from pipeline.training import fit
from pipeline.training.begin import begin
from pipeline.training.flat import FlatParameters
from pipeline.training.initialization import initialize
from tests.training.test_loop import OBJECTIVE, rows


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_what_is_validated_and_kept_is_the_average_and_what_is_trained_is_not() -> None:
    state = begin(small(), TrainConfig(epochs=3, lr=0.05, ema_decay=0.9))
    fit(state, rows(100), rows(40, 1), OBJECTIVE, seed=0)
    live, averaged = copy.deepcopy(state.net.state_dict()), state.weights()
    assert not torch.equal(live["0.weight"], averaged["0.weight"])
    assert not torch.equal(live["1.running_mean"], averaged["1.running_mean"]), "statistics of batch normalization as well"
    net = small()
    net.load_state_dict(averaged)
    logits = net.eval()(rows(40, 1).inputs).detach()
    assert float(OBJECTIVE.loss(logits, rows(40, 1).targets)) == pytest.approx(state.history[-1]["val/loss"], rel=1e-6)
    assert all(torch.equal(live[name], tensor) for name, tensor in state.net.state_dict().items()), "looking changes nothing"


def test_the_average_is_the_published_recursion_with_a_short_memory_at_first() -> None:
    state = begin(small(), TrainConfig(ema_decay=0.99))
    assert state.average is not None
    expected = state.flat.weights.clone()
    for step in range(1, 6):
        state.flat.weights.data.add_(1.0)
        state.average.update()
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * state.flat.weights
    with state.evaluated():
        assert torch.allclose(state.flat.weights, expected, rtol=1e-6)


@pytest.mark.parametrize("net", [small(), Cnn((8, 8), 10, channels=(4, 8), hidden=16)], ids=["mlp", "cnn"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_flat_parameters_change_neither_answers_nor_gradients_nor_names(net: nn.Module, channels_last: bool) -> None:
    net = copy.deepcopy(net)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = copy.deepcopy(net)
    flat = FlatParameters(net)
    inputs = torch.randn(5, 8, 8) if isinstance(net, Cnn) else torch.randn(5, 4)
    for one in (plain, net):
        torch.manual_seed(1)
        one(inputs).square().sum().backward()
    for (name, parameter), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter, other)
        assert parameter.stride() == other.stride(), name
        assert other.grad is not None
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, other.grad, atol=1e-6)
        assert flat.parameters[name] is parameter
    total = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters() if p.grad is not None])
    assert float(flat.gradient_norm()) == pytest.approx(float(total), rel=1e-5)
    before = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        flat.weights.add_(1.0)
    assert all(torch.equal(p, b + 1) for p, b in zip(net.parameters(), before, strict=True)), "one buffer holds them all"


def test_shared_and_frozen_parameters_stay_shared_and_frozen() -> None:
    first, second, last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
    second.weight = first.weight
    last.weight.requires_grad_(False)
    frozen = last.weight.detach().clone()
    net = nn.Sequential(first, second, last)
    state = begin(net, TrainConfig(epochs=1, lr=0.1))
    fit(state, rows(40), rows(20, 1), OBJECTIVE, seed=0)
    assert second.weight is first.weight
    assert torch.equal(last.weight, frozen)
    assert "2.weight" not in state.flat.parameters


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.ReLU(), "model: it has no parameters to train"),
        (nn.LazyLinear(3), "model: weight has no size before the first batch"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), "model: its parameters must have one dtype and one device"),
    ],
    ids=["none", "lazy", "mixed"],
)
def test_a_network_that_cannot_be_trained_is_refused(net: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FlatParameters(net)


@pytest.mark.parametrize(("method", "spread"), [("kaiming", (2 / 400) ** 0.5), ("xavier", (2 / 700) ** 0.5)])
def test_weights_begin_with_the_published_spread_and_biases_at_0(method: Any, spread: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(400, 300), nn.BatchNorm1d(300), nn.Conv2d(3, 2, 3))
    initialize(net, method)
    state = net.state_dict()
    assert float(state["0.weight"].std()) == pytest.approx(spread, rel=0.02)
    assert not state["0.bias"].any()
    assert not state["2.bias"].any()
    assert bool((state["1.weight"] == 1).all())


def test_the_default_leaves_a_models_own_weights() -> None:
    net = small()
    before = copy.deepcopy(net.state_dict())
    initialize(net, "default")
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
