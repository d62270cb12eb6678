"""In-memory batches: tensors on the device, shuffled once an epoch and sliced; several times faster than a DataLoader."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batches:
    """Rows on the device. inputs: (rows, *shape) normalized; targets: (rows,)."""

    inputs: Tensor
    targets: Tensor
    batch_size: int

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.bounds())

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.inputs)

    def bounds(self) -> list[tuple[int, int]]:
        """Return (start, stop) of each batch. A last batch of one row joins the one before: batch normalization needs two."""
        starts = list(range(0, self.rows, self.batch_size))
        if len(starts) > 1 and self.rows - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.rows], strict=True))

    def order(self, *, seed: int, epoch: int) -> Tensor:
        """Return the row numbers in this epoch's order, a function of seed and epoch alone, so that a resume finds it again."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(self.rows, generator=generator).to(self.inputs.device)

    def shuffled(self, order: Tensor, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of each batch in the given order, after the first `skip`."""
        inputs, targets = self.inputs[order], self.targets[order]
        for start, stop in self.bounds()[skip:]:
            yield inputs[start:stop], targets[start:stop]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets) of each batch as stored."""
        for start, stop in self.bounds():
            yield self.inputs[start:stop], self.targets[start:stop]
