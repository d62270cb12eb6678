"""Channels that hang together are found on any model, and what cannot be followed is left whole and named."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from pipeline.compression.cutting import cut, largest_difference, silenced
from pipeline.compression.dependencies import Dependencies, find_dependencies
from pipeline.errors import GateRefused, UserError
from pipeline.models.resized import changed_shapes, resized
from tests.compression.pruned_nets import nets, residual

NETS = nets()
FOUND = {name: find_dependencies(net, inputs) for name, (net, inputs) in NETS.items()}


class Around(nn.Module):
    """A layer, something, and another layer: (rows, 6) -> (rows, 2)."""

    def __init__(self, between: Callable[[Tensor], Tensor], *layers: nn.Module, width: int = 8) -> None:
        super().__init__()
        self.first, self.between, self.layers = nn.Linear(6, 8), between, nn.ModuleList(layers)
        self.last = nn.Linear(width, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        out = self.first(inputs)
        for layer in self.layers:
            out = layer(out)
        answer: Tensor = self.last(self.between(out))
        return answer


def same(inputs: Tensor) -> Tensor:
    return inputs


def some(found: Dependencies, share: float, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Random channels of each block, never all of one."""
    generator = np.random.default_rng(seed)
    counts = [min(len(block.channels) - 1, int(share * len(block.channels))) for block in found.blocks]
    chosen = zip(found.blocks, counts, strict=True)
    return np.concatenate([generator.permutation(block.channels)[:count] for block, count in chosen])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(NETS)), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_without_channels_a_network_computes_what_it_computes_with_zeros_in_them(name: str, share: float, seed: int) -> None:
    (net, inputs), found = NETS[name], FOUND[name]
    gone = some(found, share, seed)
    smaller = cut(net, found, gone)
    assert largest_difference(silenced(net, found, gone), smaller, inputs) < 1e-6
    sizes = [sum(p.numel() for p in one.parameters()) for one in (net, smaller)]
    assert sizes[1] < sizes[0] or not len(gone)


def test_removing_channels_changes_answers_where_they_were_not_zero() -> None:
    for name, (net, inputs) in NETS.items():
        assert largest_difference(net, cut(net, FOUND[name], some(FOUND[name], 0.5, 1)), inputs) > 1e-3, name


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_cut_network_is_rebuilt_from_shapes_and_weights(name: str) -> None:
    net, inputs = NETS[name]
    smaller = cut(net, FOUND[name], some(FOUND[name], 0.5, 0))
    again = resized(nets()[name][0], changed_shapes(net, smaller))
    again.load_state_dict(smaller.state_dict())
    assert repr(again) == repr(smaller), "every layer says its new widths"
    assert torch.equal(again.eval()(inputs), smaller.eval()(inputs))


@pytest.mark.parametrize("name", sorted(NETS))
def test_every_channel_but_those_of_the_answers_may_go(name: str) -> None:
    found = FOUND[name]
    assert len(found.whole) == 1
    (why,) = found.whole.values()
    assert why == "its outputs are joined with the model's answers"
    cuttable = {layer for block in found.blocks for layer in block.layers}
    assert found.widths.keys() == cuttable | found.whole.keys()
    assert len(cuttable) >= 2


def test_residual_sums_tie_the_layers_that_they_add() -> None:
    layers = {block.layers for block in FOUND["resnet"].blocks}
    assert ("features.0.0", "features.1.body.1", "features.2.body.1") in layers
    assert ("features.3.body.1", "features.3.shortcut.0", "features.4.body.1") in layers, "a projected shortcut, too"
    custom = {block.layers for block in FOUND["custom"].blocks}
    assert ("stem", "blocks.0.mix", "blocks.0.excite", "blocks.1.mix", "blocks.1.excite") in custom, "a gate is tied as well"


def test_a_flattened_picture_feeds_each_channel_to_as_many_inputs_as_it_has_pixels() -> None:
    (reads,) = [slot for slot in FOUND["cnn"].slots if slot.layer == "head.1" and slot.role == "reads"]
    numbers, counts = np.unique(reads.numbers, return_counts=True)
    assert (len(numbers), set(counts.tolist())) == (12, {4 * 3})


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.inner(inputs)
        return out if bool(out.sum() > 0) else -out


class Direct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.inner(inputs)
        return out + self.inner.weight.mean()


def tied() -> nn.Module:
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    layers[2].weight = layers[0].weight
    return layers


@pytest.mark.parametrize(
    ("net", "layer", "why"),
    [
        (Around(torch.sigmoid), "first", "a channel of zeros is not zero where last reads it"),
        (Around(lambda x: x + 1), "first", "a channel of zeros is not zero where last reads it"),
        (Around(lambda x: x.view(-1, 8)), "first", r"what view\(\) does with its channels is not known"),
        (Around(lambda x: x.view(-1, 2, 4).flatten(1)), "first", r"what view\(\)"),
        (Around(lambda x: torch.softmax(x, 1)), "first", r"what softmax\(\)"),
        (Around(lambda x: x[:, :4], width=4), "first", r"what getitem\(\)"),
        (Around(lambda x: x[:, [1, 0]], width=2), "first", r"what getitem\(\)"),
        (Around(lambda x: torch.stack([x, x], 1).sum(1)), "first", r"what stack\(\)"),
        (Around(lambda x: 1 / (x * x + 1)), "first", r"what truediv\(\)"),
        (Around(lambda x: x.unsqueeze(1).repeat(1, 2, 1).flatten(1), width=16), "first", r"what repeat\(\)"),
        (Around(lambda x: functional.max_pool1d(x.unsqueeze(1), 2).flatten(1), width=4), "first", r"what max_pool1d\(\)"),
        (Around(same, nn.MaxPool1d(3, 1, 1)), "first", "what layers.0 does"),
        (Around(same, nn.LayerNorm(8)), "first", "what layers.0 does with its channels is not known"),
        (Around(same, nn.LayerNorm(8)), "layers.0", "of a LayerNorm"),
        (Around(lambda x: x.flatten(1), nn.Unflatten(1, (8, 1)), nn.Conv1d(8, 8, 1, groups=4)), "layers.1", "of a Conv1d"),
        (Around(same, Branch()), "layers.0", "it cannot be traced: .*control flow"),
        (Around(same, Branch()), "first", "what layers.0 does with its channels is not known"),
        (Around(same, Direct()), "layers.0.inner", r"forward\(\) uses its weights directly"),
        (Around(same, tied()), "layers.0.0", "it shares its weights with another layer"),
        (Around(same, tied()), "layers.0.2", "it shares its weights with another layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_left_whole_and_named(net: nn.Module, layer: str, why: str) -> None:
    inputs = torch.randn(4, 6)
    found = find_dependencies(net, inputs)
    assert layer in found.whole
    assert re.search(why, found.whole[layer]), found.whole[layer]
    assert not [block for block in found.blocks if layer in block.layers]


@pytest.mark.parametrize(
    "between",
    [
        lambda x: torch.sigmoid(x) * x,
        lambda x: x.reshape(x.size(0), -1),
        lambda x: x * 2 - torch.relu(x) / 3 + 0,
        lambda x: x.unsqueeze(2).transpose(1, 2).permute(0, 2, 1).mean(2),
        lambda x: x[:, None].squeeze(1),
        lambda x: x.unsqueeze(1).amax(dim=1),
        lambda x: functional.dropout(functional.gelu(x), 0.5, False),
        lambda x: x.add_(x).relu_(),
    ],
)
def test_what_keeps_channels_apart_is_followed(between: Callable[[Tensor], Tensor]) -> None:
    net, inputs = Around(between), torch.randn(4, 6)
    found = find_dependencies(net, inputs)
    assert [block.layers for block in found.blocks] == [("first",)]
    gone = found.blocks[0].channels[2:5]
    assert largest_difference(silenced(net, found, gone), cut(net, found, gone), inputs) < 1e-6


def test_a_layer_that_is_called_twice_reads_and_gives_the_same_channels_both_times() -> None:
    twice = nn.Linear(8, 8)
    net = Around(same, twice, nn.ReLU(), twice)
    found = find_dependencies(net, torch.randn(4, 6))
    assert [block.layers for block in found.blocks] == [("first", "layers.0")], "what it reads is what it gives"


def test_a_parametrized_layer_is_left_alone_and_the_others_are_not() -> None:
    net = Around(same, parametrizations.weight_norm(nn.Linear(8, 8)))
    found = find_dependencies(net, torch.randn(4, 6))
    assert found.blocks == ()
    assert "layers.0" in found.whole or "layers.0.parametrizations.weight" in found.whole


def test_a_model_that_cannot_be_traced_at_all_is_refused_in_one_line() -> None:
    class Whole(Branch):
        pass

    with pytest.raises(GateRefused, match="cannot be traced, so all of it is left whole") as caught:
        find_dependencies(Whole(), torch.randn(4, 8))
    assert len(str(caught.value).splitlines()) == 1


def test_looking_changes_nothing() -> None:
    net = residual().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    find_dependencies(net, torch.randn(4, 8, 8))
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_layer_that_is_to_stay_whole_keeps_those_whole_that_share_its_channels_and_no_others() -> None:
    found = FOUND["resnet"]
    sparing = found.sparing(["features.1.body.1", "features.4"])
    stay = ("features.0.0", "features.1.body.1", "features.2.body.1"), ("features.4.body.0.0",)
    shared = ("features.3.body.1", "features.3.shortcut.0", "features.4.body.1")
    assert [block.layers for block in sparing.blocks] == [
        block.layers for block in found.blocks if block.layers not in {*stay, shared}
    ]
    assert set(sparing.whole) == {*found.whole, *(layer for one in (*stay, shared) for layer in one)}
    assert "prune.whole" in sparing.whole["features.0.0"]


def test_a_layer_that_is_not_there_cannot_stay_whole_and_those_that_are_there_are_named() -> None:
    with pytest.raises(
        UserError, match=r"prune\.whole: the model has no layer 'layers' with channels; there are features\.0\.0"
    ):
        FOUND["cnn"].sparing(["features.0", "layers"])
    with pytest.raises(UserError, match="'feature'"):  # a part of a name is none
        FOUND["cnn"].sparing(["feature"])
