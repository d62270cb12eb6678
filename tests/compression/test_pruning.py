"""A cut is proven before it is trained on, and a result that is no smaller is refused."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.compression.cutting import cut, silenced
from pipeline.compression.dependencies import find_dependencies
from pipeline.compression.pruning import Size, _prove_cut
from pipeline.errors import GateRefused
from pipeline.stages.prune import _prove_smaller


class ByWidth(nn.Module):
    """Answers with the width of a layer in them, which no trace shows."""

    def __init__(self, *, reads_width: bool) -> None:
        super().__init__()
        self.first, self.last, self.reads_width = nn.Linear(6, 8), nn.Linear(8, 2), reads_width

    def forward(self, inputs: Tensor) -> Tensor:
        out = torch.relu(self.first(inputs)) / (self.first.out_features if self.reads_width else 8)
        answer: Tensor = self.last(out)
        return answer


@pytest.mark.parametrize("reads_width", [False, True])
def test_a_model_that_answers_otherwise_without_channels_than_with_zeros_in_them_is_refused(reads_width: bool) -> None:
    torch.manual_seed(0)
    net, inputs = ByWidth(reads_width=reads_width), torch.randn(4, 6)
    found = find_dependencies(net, inputs)
    gone = found.blocks[0].channels[:4]
    quiet, smaller = silenced(net, found, gone), cut(net, found, gone)
    if not reads_width:
        _prove_cut(quiet, smaller, inputs)
        return
    with pytest.raises(GateRefused, match="the model answers otherwise than with zeros in them"):
        _prove_cut(quiet, smaller, inputs)


@pytest.mark.parametrize(("stored_bytes", "macs", "what"), [(400, 90, "400 bytes"), (390, 100, "100 MACs a row")])
def test_a_model_with_as_many_bytes_or_macs_as_before_is_refused(stored_bytes: int, macs: int, what: str) -> None:
    before = Size(parameters=100, stored_bytes=400, macs=100)
    with pytest.raises(GateRefused, match=f"the pruned model has {what}"):
        _prove_smaller(before, Size(parameters=90, stored_bytes=stored_bytes, macs=macs))
    _prove_smaller(before, Size(parameters=90, stored_bytes=399, macs=99))
