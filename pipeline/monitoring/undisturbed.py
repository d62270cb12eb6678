"""A forward pass for looking: with the weights that are validated, in eval mode, and without a trace in the training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pipeline.training.batches import Batches
from pipeline.training.randomness import kept_rng
from pipeline.training.state import FitState


@contextmanager
def undisturbed(state: FitState) -> Iterator[None]:
    """Put the network into eval mode for a while; mode of each module, buffers and random generators are put back.

    Eval mode leaves the buffers of torch's own layers alone; a user's layer may count its calls in one.
    """
    modes = [(module, module.training) for module in state.net.modules()]
    try:
        with kept_rng(), torch.no_grad(), state.evaluated():
            buffers = [(buffer, buffer.clone()) for buffer in state.net.buffers()]
            state.net.eval()
            try:
                yield
            finally:
                for buffer, before in buffers:
                    buffer.copy_(before)
    finally:
        for module, mode in modes:
            module.training = mode


def first_rows(batches: Batches, count: int) -> tuple[Tensor, Tensor]:
    """Return the inputs (rows, *shape) and targets (rows,) of the first rows, at most `count` and at most one batch."""
    inputs, targets = next(iter(batches.in_order()))
    return inputs[:count], targets[:count]
