"""Batch normalization after a cut has the statistics of what reaches it now, and nothing else has moved."""

import copy

import torch
from torch import nn

from pipeline.compression.statistics import renew_statistics
from pipeline.training.batches import InMemory


def rows(count: int, size: int = 1024) -> InMemory:
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(1)) * 3 + 5
    return InMemory(inputs, torch.zeros(count), size)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.BatchNorm1d(4, momentum=0.3), nn.ReLU(), nn.Linear(4, 2))


def test_statistics_are_those_of_train_rows_without_dropout() -> None:
    found, train = net().train(), rows(300)
    renew_statistics(found, train, seed=0)
    reaching = found[0](train.inputs)
    torch.testing.assert_close(found[2].running_mean, reaching.mean(0))
    torch.testing.assert_close(found[2].running_var, reaching.var(0))


def test_every_row_counts_the_same_in_a_short_last_batch_too() -> None:
    found, train = net(), rows(250, size=100)
    renew_statistics(found, train, seed=0)
    torch.testing.assert_close(found[2].running_mean, found[0](train.inputs).mean(0))


def test_nothing_else_moves_and_the_network_is_left_in_eval_mode_with_its_own_momentum() -> None:
    found = net()
    before = copy.deepcopy(found)
    renew_statistics(found, rows(40), seed=0)
    assert all(torch.equal(one, other) for one, other in zip(found.parameters(), before.parameters(), strict=True))
    assert found[2].momentum == 0.3
    assert not any(module.training for module in found.modules())
    assert not torch.equal(found.get_buffer("2.running_mean"), before.get_buffer("2.running_mean"))


def test_a_single_row_and_a_layer_without_statistics_leave_all_as_it_is() -> None:
    for found, train in ((net(), rows(1)), (nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False)), rows(40))):
        before = copy.deepcopy(found.state_dict())
        renew_statistics(found, train, seed=0)
        assert all(torch.equal(one, before[name]) for name, one in found.state_dict().items())
        assert not found.training
