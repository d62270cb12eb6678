"""Training with rounding: what is rounded, what is not, and that a checkpoint knows nothing of it."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.config import load
from pipeline.models.cnn import Cnn
from pipeline.models.mlp import Mlp
from pipeline.quantization.qat import KeepZeros, rounded
from pipeline.training.begin import begin
from tests.conftest import ROOT


def inputs_of(*shape: int) -> torch.Tensor:
    return torch.randn(32, *shape, generator=torch.Generator().manual_seed(0))


def test_a_checkpoint_has_the_same_names_and_values_as_without_rounding() -> None:
    net = Cnn((6, 6), 3, channels=[8], hidden=16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    after = rounded(net, reduce_range=False).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert list(dict(net.named_buffers())) == [name for name in before if "running" in name or "tracked" in name]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), reduce_range=st.booleans())
def test_a_rounded_layer_has_at_most_as_many_weights_as_its_integers_and_256_inputs(seed: int, reduce_range: bool) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(40, 8)
    net = rounded(nn.Sequential(layer), reduce_range=reduce_range)
    weights = layer.quantization.weights(layer.weight)  # type: ignore[operator, union-attr]
    top = 63 if reduce_range else 127
    scale = layer.weight.detach().abs().amax(1, keepdim=True) / top
    steps = (weights / scale).detach()
    assert (steps - steps.round()).abs().max() < 1e-3
    assert ((weights - layer.weight).abs() <= scale / 2 * 1.001).all(), "the nearest step; of two as near, either"
    inputs = torch.randn(500, 40)
    net.train()
    net(inputs)
    net.eval()
    seen = layer.quantization.inputs(inputs, moves=False)  # type: ignore[operator, union-attr]
    assert len(seen.unique()) <= 256
    assert (seen - inputs).abs().max() <= (inputs.max() - inputs.min()) / 255 / 2 * 1.01


def test_gradients_pass_through_the_rounding_inside_the_range() -> None:
    net = rounded(nn.Sequential(nn.Linear(4, 2)), reduce_range=False)
    net.train()
    inputs = inputs_of(4).requires_grad_()
    net(inputs).sum().backward()
    assert inputs.grad is not None
    expected = net[0].weight.detach().sum(0).expand_as(inputs)  # type: ignore[index]
    assert (inputs.grad - expected).abs().max() < 0.05
    assert (net[0].weight.grad != 0).all()  # type: ignore[index]


def test_a_copy_moves_its_own_ranges_and_evaluation_moves_none() -> None:
    net = rounded(Mlp((4,), 2, hidden=[8]), reduce_range=False).train()
    inputs = inputs_of(4)
    net(inputs)
    copied = copy.deepcopy(net)
    before = net.eval()(inputs)
    copied.train()(inputs * 100)
    net(inputs * 100)
    assert torch.equal(net(inputs), before)


def test_before_the_first_batch_what_reaches_a_layer_is_not_rounded() -> None:
    net = nn.Sequential(nn.Linear(4, 2))
    whole = net(inputs_of(4))
    assert (rounded(net, reduce_range=False).eval()(inputs_of(4)) - whole).abs().max() < 0.02


def test_weights_that_pruning_took_away_stay_zero() -> None:
    net = rounded(Mlp((4,), 2, hidden=[8]), reduce_range=False)
    with torch.no_grad():
        net.get_parameter("layers.1.weight")[:, 0] = 0.0
    hook = KeepZeros(net)
    state = begin(net, load(ROOT / "configs" / "iris.yaml", []).train)
    with torch.no_grad():
        state.flat.weights.add_(1.0)
    hook.on_batch_end(state)
    weights = net.get_parameter("layers.1.weight")
    assert (weights[:, 0] == 0).all()
    assert (weights[:, 1:] != 0).all()


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_every_kind_of_convolution_is_rounded(kind: type[nn.Module]) -> None:
    layer = kind(2, 3, 3, padding=1)
    inputs = inputs_of(2, *([5] * int(kind.__name__[4])))
    whole = layer(inputs)
    found = rounded(nn.Sequential(layer), reduce_range=True).train()(inputs)
    assert 0 < (found - whole).abs().max() < 0.2
