"""Weights that became zero are the smallest ones, and they stay zero whatever trains the others."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.compression.sparsity import (
    KeepZeros,
    apply_masks,
    broken_zeros,
    sparsity_of,
    two_of_four_masks,
    unstructured_masks,
    weights_of,
)
from pipeline.config.train_sections import OptimizerConfig, TrainConfig
from pipeline.models.cnn import Cnn
from pipeline.models.mlp import Mlp
from pipeline.training.batches import InMemory
from pipeline.training.begin import begin
from pipeline.training.hooks import Hook
from pipeline.training.loop import fit
from pipeline.training.objective import Objective
from pipeline.training.state import FitState


def cnn() -> Cnn:
    torch.manual_seed(0)
    return Cnn((6, 6), 3, channels=[8, 8], hidden=8)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.95), st.sampled_from(["global", "layer"]), st.sampled_from([None, 1]))
def test_so_many_weights_become_zero_and_more_of_them_contain_fewer(amount: float, scope: str, seed: int | None) -> None:
    net = Mlp((6,), 2, hidden=[12, 8])
    kept = copy.deepcopy(net)
    masks = unstructured_masks(net, amount, scope=scope, seed=seed)  # type: ignore[arg-type]
    more = unstructured_masks(net, (1 + amount) / 2, scope=scope, seed=seed)  # type: ignore[arg-type]
    assert all(torch.equal(one, two) for one, two in zip(net.state_dict().values(), kept.state_dict().values(), strict=True))
    assert all((more[name][mask == 0] == 0).all() for name, mask in masks.items())
    apply_masks(net, masks)
    assert sparsity_of(net) == pytest.approx(amount, abs=0.02)
    assert broken_zeros(net, masks) == 0


def test_the_smallest_weights_of_all_layers_go_or_of_each_alone() -> None:
    net = Mlp((6,), 2, hidden=[8])
    with torch.no_grad():
        net.get_parameter("layers.1.weight").mul_(1e-3)
    together, alone = unstructured_masks(net, 0.5, scope="global"), unstructured_masks(net, 0.5, scope="layer")
    assert together["layers.1.weight"].mean() == pytest.approx(16 / 48)
    assert together["layers.4.weight"].min() == 1
    assert [mask.mean() for mask in alone.values()] == [0.5, 0.5]
    weights = net.get_parameter("layers.4.weight").detach().abs()
    gone, stays = (weights[alone["layers.4.weight"] == kept] for kept in (0, 1))
    assert gone.max() <= stays.min()


def test_of_every_four_inputs_the_two_largest_stay() -> None:
    net = cnn()
    masks, whole = two_of_four_masks(net)
    assert whole == {"features.0.0": "it has 1 inputs, fewer than four"}
    checked = 0
    for name, mask in masks.items():
        weights, rows = (tensor.movedim(1, -1).reshape(-1, 4) for tensor in (net.get_parameter(name).detach().abs(), mask))
        assert (rows.sum(1) == 2).all(), name
        assert ((weights * rows).sum(1) == weights.topk(2).values.sum(1)).all()
        checked += len(rows)
    assert checked == sum(mask.numel() for mask in masks.values()) / 4


def test_a_last_group_of_fewer_than_four_inputs_stays_whole() -> None:
    masks, _ = two_of_four_masks(nn.Sequential(nn.Linear(6, 3)))
    assert masks["0.weight"].sum(1).tolist() == [4, 4, 4]
    assert (masks["0.weight"][:, 4:] == 1).all()


class Watch(Hook):
    """Counts weights and averages that left zero, after every step."""

    def __init__(self, masks: dict[str, torch.Tensor]) -> None:
        self.masks, self.broken, self.looks = masks, 0, 0

    def on_batch_end(self, state: FitState) -> None:
        self.looks += 1
        self.broken += broken_zeros(state.net, self.masks)
        with state.evaluated():
            self.broken += broken_zeros(state.net, self.masks)


def trained(optimizer: str, *, keep: bool, last: bool = False, decay: float | None = 0.9) -> Watch:
    net = cnn()
    masks = unstructured_masks(net, 0.6, scope="global")
    apply_masks(net, masks)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    if last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = TrainConfig(epochs=2, lr=0.01, ema_decay=decay, optimizer=OptimizerConfig(name=optimizer))  # type: ignore[arg-type]
    state, watch = begin(net, config), Watch(masks)
    generator = torch.Generator().manual_seed(0)
    rows = InMemory(torch.randn(32, 6, 6, generator=generator), torch.arange(32) % 3, 8)
    objective = Objective(nn.functional.cross_entropy, lambda outputs, targets: {})
    fit(state, rows, rows, objective, seed=0, hooks=[*([KeepZeros(masks)] if keep else []), watch])
    weights = [name for name, _ in weights_of(net)]
    assert all(not torch.equal(net.state_dict()[name], before[name]) for name in weights), "the others were trained"
    return watch


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("last", [False, True])
def test_zeros_stay_zero_in_weights_and_in_their_average_after_every_step(optimizer: str, last: bool) -> None:
    watch = trained(optimizer, keep=True, last=last)
    assert (watch.broken, watch.looks) == (0, 8)


def test_without_the_hook_zeros_would_be_lost() -> None:
    assert trained("adamw", keep=False).broken > 100
