"""The order in which rows too many for memory are visited: random blocks of the file make a window, its rows are shuffled.

order = EpochOrder(Layout.of(50_000_000, 80), seed=0, epoch=3)      # rows of 80 bytes
order.window(7).runs                                                # [(start, stop), …] to read, ascending
order.window(7).order                                               # which of the rows so read comes first, second, …

Rows that lie together in the file (a block) come in one window, but in the same batch no more often than any two rows of that
window. A window of some 250 blocks is a random sample of the whole file: in a file sorted by class, the share p of a class in a
window strays from the file's by sqrt(p (1 - p) / 250), which is 0.03 at most; in a file without order, by no more than after a
full shuffle. A file that fits into one window is shuffled in full, and so are rows as large as a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 128 * 1024  # read at one go: smaller ones halve the speed of a cold disk
WINDOW_BYTES = 36 * 1024 * 1024  # shuffled at one go; glibc gives memory above 32 MiB back as soon as it is free
_BLOCKS_KEY, _WINDOWS_KEY = 0, 1  # of the random streams of one epoch


@dataclass(frozen=True)
class Window:
    """Rows that are read together: `runs` of (start, stop), and the order to visit what was read in; None: as read."""

    runs: list[tuple[int, int]]
    order: NDArray[np.int64] | None

    def row_numbers(self) -> NDArray[np.int64]:
        """Return the number in the file of each row, in the order of the visit."""
        read = np.concatenate([np.arange(start, stop, dtype=np.int64) for start, stop in self.runs])
        return read if self.order is None else read[self.order]


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are grouped: neighbors into blocks, the last of them maybe short, and blocks into windows."""

    rows: int
    block_rows: int
    window_blocks: int  # at most

    @classmethod
    def of(cls, rows: int, row_bytes: int, *, block_bytes: int = BLOCK_BYTES, window_bytes: int = WINDOW_BYTES) -> Self:
        """Choose blocks and windows by their size in bytes; each has one row at least."""
        block_rows = max(1, block_bytes // row_bytes)
        return cls(rows, block_rows, max(1, window_bytes // (block_rows * row_bytes)))

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.rows // self.block_rows)

    @property
    def windows(self) -> int:
        """Number of windows."""
        return -(-self.blocks // self.window_blocks)

    def in_order(self) -> Iterator[Window]:
        """Yield windows of rows as stored."""
        step = self.block_rows * self.window_blocks
        for start in range(0, self.rows, step):
            yield Window([(start, min(start + step, self.rows))], None)


class EpochOrder:
    """Every row once, in an order that is a function of layout, seed and epoch alone.

    Kept in memory is one number for each block; rows are numbered when their window is asked for.
    """

    def __init__(self, layout: Layout, *, seed: int, epoch: int) -> None:
        """Draw the order of the blocks. Seed and epoch: 0 or more."""
        assert layout.rows > 0
        self._layout, self._seed, self._epoch = layout, seed, epoch
        self._blocks = self._generator(_BLOCKS_KEY).permutation(layout.blocks)
        self._short = layout.blocks * layout.block_rows - layout.rows  # rows that the last block of the file lacks
        self._short_at = int(np.flatnonzero(self._blocks == layout.blocks - 1)[0])

    def window(self, window: int) -> Window:
        """Return one window's rows and their order."""
        size = self._layout.block_rows
        runs: list[tuple[int, int]] = []
        # In the order of the file: the disk reads forward, and blocks side by side become one read.
        for block in np.sort(self._blocks[self._first_block(window) : self._first_block(window + 1)]).tolist():
            start, stop = block * size, min((block + 1) * size, self._layout.rows)
            if runs and runs[-1][1] == start:
                start = runs.pop()[0]
            runs.append((start, stop))
        count = sum(stop - start for start, stop in runs)
        return Window(runs, self._generator(_WINDOWS_KEY, window).permutation(count))

    def visit(self, position: int) -> Iterator[Window]:
        """Yield the windows from the row that is visited as number `position`; the rows before it are read with its window."""
        block = position // self._layout.block_rows
        if self._rows_before(block + 1) <= position:
            block += 1
        # The last window that begins with this block or before.
        first = ((block + 1) * self._layout.windows - 1) // self._layout.blocks
        for index in range(first, self._layout.windows):
            window = self.window(index)
            assert window.order is not None
            done = position - self._rows_before(self._first_block(first)) if index == first else 0
            yield Window(window.runs, window.order[done:])

    def _first_block(self, window: int) -> int:
        """Return where in the order of blocks a window begins; evenly spread, since a last window of one block is no sample."""
        return window * self._layout.blocks // self._layout.windows

    def _rows_before(self, block: int) -> int:
        """Return how many rows come before a block of the order."""
        return block * self._layout.block_rows - (self._short if block > self._short_at else 0)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(self._epoch, *key)))
