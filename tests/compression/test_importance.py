"""The channels that go are the ones that matter least, in layers of any scale, rounded as it pays."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.compression.dependencies import Dependencies, find_dependencies
from pipeline.compression.importance import changes_of_loss, channel_scores, least_important, rounded
from pipeline.config.compression_sections import Importance
from pipeline.errors import UserError
from pipeline.models.mlp import Mlp
from pipeline.training.batches import InMemory
from pipeline.training.objective import Objective

KINDS = get_args(Importance)


def normalized() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU())
    return layers.append(nn.Linear(8, 2)).eval()


def batches() -> InMemory:
    generator = torch.Generator().manual_seed(0)
    return InMemory(torch.randn(40, 6, generator=generator), torch.arange(40) % 2, 8)


OBJECTIVE = Objective(nn.functional.cross_entropy, lambda outputs, targets: {})


def scores_of(net: nn.Module, kind: Importance, found: Dependencies) -> dict[int, float]:
    changes = changes_of_loss(net, batches(), OBJECTIVE, seed=0) if kind == "taylor" else None
    return channel_scores(net, found, kind, seed=0, loss_changes=changes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "random"])
def test_a_channel_without_weight_is_the_first_to_go_by_every_measure(kind: Importance) -> None:
    net = normalized()
    with torch.no_grad():
        for place in (0, 1):
            for tensor in net[place].parameters():
                tensor[5] = 0.0
    found = find_dependencies(net, batches().inputs[:4])
    first = next(block for block in found.blocks if block.layers == ("0",))
    scores = scores_of(net, kind, found)
    assert min(scores, key=scores.__getitem__) == first.channels[5]
    assert len(scores) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_other_scales_are_ranked_together(kind: Importance) -> None:
    net = normalized()
    found = find_dependencies(net, batches().inputs[:4])
    before = scores_of(net, kind, found)
    with torch.no_grad():
        for name, factor in (("0.weight", 100.0), ("0.bias", 100.0), ("1.running_mean", 100.0), ("1.running_var", 100.0**2)):
            net.state_dict()[name].mul_(factor)
    after = scores_of(net, kind, found)
    np.testing.assert_allclose([*after.values()], [*before.values()], rtol=0.02)


def test_random_scores_come_from_the_seed() -> None:
    net = normalized()
    found = find_dependencies(net, batches().inputs[:4])
    drawn = [channel_scores(net, found, "random", seed=seed) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_channels_that_several_layers_share_have_the_mean_of_their_scores() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Linear(6, 2, bias=False), nn.Linear(6, 2, bias=False), nn.Linear(2, 2)
            self.one.weight.data = torch.tensor([[1.0], [3.0]]).expand(2, 6).clone()
            self.two.weight.data = torch.tensor([[50.0], [50.0]]).expand(2, 6).clone()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(torch.relu(self.one(inputs) + self.two(inputs)))
            return out

    net = Sum()
    found = find_dependencies(net, batches().inputs[:4])
    assert [*channel_scores(net, found, "l1", seed=0).values()] == pytest.approx([0.75, 1.25])


def test_scales_of_normalization_are_asked_for_where_there_are_none() -> None:
    net = Mlp((6,), 2, hidden=[4])
    found = find_dependencies(net, batches().inputs[:4])
    with pytest.raises(UserError, match="bn_scale needs channels with batch normalization"):
        channel_scores(net, found, "bn_scale", seed=0)


def test_asking_for_gradients_leaves_the_network_as_it_was() -> None:
    net = normalized()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    changes = changes_of_loss(net, batches(), OBJECTIVE, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert changes.keys() == dict(net.named_parameters()).keys()
    assert all((change >= 0).all() for change in changes.values())


@given(st.floats(0, 300), st.integers(1, 256), st.integers(1, 64))
def test_kept_widths_are_multiples_within_the_layer(wanted: float, width: int, round_to: int) -> None:
    kept = rounded(wanted, width, round_to)
    assert 1 <= kept <= width
    if width >= 2 * round_to and kept < width:
        assert kept % round_to == 0


@pytest.mark.parametrize(
    ("wanted", "width", "round_to", "kept"),
    [
        (33, 64, 16, 32),
        (41, 64, 16, 48),
        (1, 64, 16, 16),
        (15, 24, 16, 16),
        (8, 16, 16, 8),
        (5, 12, 16, 4),
        (0, 1, 16, 1),
        (7, 10, 1, 7),
        (20, 10, 1, 10),
    ],
)
def test_a_width_is_rounded_to_the_next_multiple_or_to_a_smaller_unit_in_a_narrow_layer(
    wanted: float, width: int, round_to: int, kept: int
) -> None:
    assert rounded(wanted, width, round_to) == kept


def test_layers_are_cut_alike_or_ranked_together() -> None:
    net = Mlp((6,), 2, hidden=[16, 8])
    found = find_dependencies(net, batches().inputs[:4])
    wide, narrow = found.blocks
    scores = dict.fromkeys(wide.channels.tolist(), 0.1) | dict.fromkeys(narrow.channels.tolist(), 1.0)
    widths = {block.layers: len(block.channels) for block in found.blocks}
    by_layer = least_important(found.blocks, scores, widths, share=0.5, scope="layer", round_to=1)
    together = least_important(found.blocks, scores, widths, share=0.5, scope="global", round_to=1)
    assert [int(np.isin(block.channels, by_layer).sum()) for block in found.blocks] == [8, 4]
    assert [int(np.isin(block.channels, together).sum()) for block in found.blocks] == [12, 0]
