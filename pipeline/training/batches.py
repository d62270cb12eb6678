"""Batches of rows: what the loop asks for, and rows in memory, shuffled once an epoch and sliced.

Slices of tensors that live on the device are several times faster than a DataLoader. Rows that do not fit are streamed
(`pipeline.training.streaming`), under the same protocol.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (inputs, targets) of a batch -> changed ones


class Batches(Protocol):
    """Rows in batches. inputs: (batch, *shape) as the network takes them; targets: (batch,)."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def batch_size(self) -> int:
        """Rows in each batch but the last."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def shuffled(self, *, seed: int, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each batch after the first `skip`, in an order that is a function of seed and epoch alone."""

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each batch as stored."""

    def rows_of(self, *, seed: int, epoch: int, batch: int) -> Tensor:
        """Return the row numbers of one batch of `shuffled`."""


def batch_sizes(rows: int, batch_size: int) -> list[int]:
    """Return the size of each batch. A last batch of one row joins the one before: batch normalization needs two."""
    sizes = [batch_size] * (rows // batch_size)
    left = rows % batch_size
    if left == 1 and sizes:
        sizes[-1] += 1
    elif left:
        sizes.append(left)
    return sizes


@dataclass(frozen=True)
class InMemory:
    """Rows on the device. inputs: (rows, *shape); targets: (rows,).

    `weights` (rows,) makes an epoch a draw with replacement, each row as likely as its weight says.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int
    weights: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.inputs)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(batch_sizes(self.rows, self.batch_size))

    def shuffled(self, *, seed: int, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each batch after the first `skip`, in an order that is a function of seed and epoch alone."""
        order = self._order(seed, epoch)
        yield from self._slices(self.inputs[order], self.targets[order], skip)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each batch as stored."""
        yield from self._slices(self.inputs, self.targets, 0)

    def rows_of(self, *, seed: int, epoch: int, batch: int) -> Tensor:
        """Return the row numbers of one batch of `shuffled`."""
        parts: tuple[Tensor, ...] = self._order(seed, epoch).split(batch_sizes(self.rows, self.batch_size))
        return parts[batch]

    def _order(self, seed: int, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        if self.weights is None:
            order = torch.randperm(self.rows, generator=generator)
        else:
            steps = self.weights.cpu().double().cumsum(0)  # torch.multinomial takes 2 ** 24 rows at most
            drawn = torch.rand(self.rows, generator=generator, dtype=torch.double) * steps[-1]
            order = torch.searchsorted(steps, drawn, right=True).clamp_max(self.rows - 1)
        return order.to(self.inputs.device)

    def _slices(self, inputs: Tensor, targets: Tensor, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        sizes = batch_sizes(self.rows, self.batch_size)
        yield from list(zip(inputs.split(sizes), targets.split(sizes), strict=True))[skip:]


@dataclass(frozen=True)
class Changed:
    """Batches that are changed one by one, such as augmented and normalized ones, when they are asked for."""

    batches: Batches
    change: Change

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.batches.rows

    @property
    def batch_size(self) -> int:
        """Rows in each batch but the last."""
        return self.batches.batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)

    def shuffled(self, *, seed: int, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each batch after the first `skip`, changed."""
        for inputs, targets in self.batches.shuffled(seed=seed, epoch=epoch, skip=skip):
            yield self.change(inputs, targets)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each batch as stored, changed."""
        for inputs, targets in self.batches.in_order():
            yield self.change(inputs, targets)

    def rows_of(self, *, seed: int, epoch: int, batch: int) -> Tensor:
        """Return the row numbers of one batch of `shuffled`."""
        return self.batches.rows_of(seed=seed, epoch=epoch, batch=batch)
