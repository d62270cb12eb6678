"""Batches of rows that memory cannot hold: read from disk in windows, the next one while training works on this one.

inputs, targets = prepared.open_split("train")                      # memory-mapped, verified
rows = StreamedBatches(inputs, targets, 256, device=device, transform=deployable.normalize)
for inputs, targets in rows.shuffled(seed=0, epoch=1): ...

In memory are about three windows (pipeline.training.windows): the one that is trained on, and the next one, as read and as
shuffled. The file is read, not mapped: pages of a map count as the process's memory, and copying them takes twice as long.
"""

import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import FileIO
from mmap import mmap
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.artifacts.prepared import Mapped
from pipeline.errors import UserError
from pipeline.training.windows import BLOCK_BYTES, WINDOW_BYTES, EpochOrder, Layout, Window

Rows = tuple[Tensor, Tensor]  # inputs (n, *shape), targets (n,)
_PIECE_BYTES = 2 * 1024 * 1024  # shuffled and transformed at one go: what is made in between stays in the processor's cache


class StreamedBatches:
    """Rows on disk, as batches on the device; the same promises as the batches in memory, and another order.

    An order is shuffled in windows: what that means for training is said in pipeline.training.windows. A batch may come from
    two windows. An iterator that is closed, or left, ends its thread; what goes wrong there is raised by the iterator.
    """

    def __init__(
        self,
        inputs: Mapped,
        targets: Mapped,
        batch_size: int,
        *,
        device: torch.device,
        transform: Callable[[Tensor], Tensor],
        block_bytes: int = BLOCK_BYTES,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        """Take whole arrays as np.load(…, mmap_mode="r") gives them; nothing is read yet.

        inputs: (rows, *shape); targets: (rows,). transform: (n, *shape) on the device -> the same rows, each by itself, so that
        a row is the same wherever it comes; it is called in another thread, without gradients.
        """
        assert len(inputs) == len(targets)
        assert batch_size > 0
        self.rows, self.batch_size = len(inputs), batch_size
        self._inputs, self._targets = _Column(inputs), _Column(targets)
        self._device, self._transform = device, transform
        row_bytes = self._inputs.row_bytes
        self._layout = Layout.of(self.rows, row_bytes, block_bytes=block_bytes, window_bytes=window_bytes)

    def __len__(self) -> int:
        """Return the number of batches. A last batch of one row joins the one before: batch normalization needs two."""
        full, left = divmod(self.rows, self.batch_size)
        return full if left == 0 or (left == 1 and full) else full + 1

    def shuffled(self, *, seed: int, epoch: int, skip: int = 0) -> Generator[Rows]:
        """Yield the batches of an epoch after the first `skip`, in an order that is a function of seed and epoch alone.

        Windows that are skipped as a whole are not read.
        """
        if skip < len(self):
            order = EpochOrder(self._layout, seed=seed, epoch=epoch)
            windows = _ahead(self._read(order.visit(skip * self.batch_size)))
            yield from _cut(windows, map(self._size, range(skip, len(self))))

    def in_order(self) -> Generator[Rows]:
        """Yield the batches of all rows as stored."""
        yield from _cut(_ahead(self._read(self._layout.in_order())), map(self._size, range(len(self))))

    def rows_of(self, *, seed: int, epoch: int, batch: int) -> Tensor:
        """Return the numbers of the rows in one batch, (size,) int64 on the CPU; nothing is read."""
        missing = self._size(batch)
        numbers: list[NDArray[np.int64]] = []
        for window in EpochOrder(self._layout, seed=seed, epoch=epoch).visit(batch * self.batch_size):
            numbers.append(window.row_numbers()[:missing])
            missing -= len(numbers[-1])
            if not missing:
                break
        return torch.from_numpy(np.concatenate(numbers))

    def _size(self, batch: int) -> int:
        assert 0 <= batch < len(self)
        return self.batch_size if batch < len(self) - 1 else self.rows - batch * self.batch_size

    def _read(self, windows: Iterable[Window]) -> Generator[Rows]:
        """Yield the rows of each window."""
        with self._inputs.open() as inputs, self._targets.open() as targets:
            for window in windows:
                yield self._load(window, inputs, targets)

    @torch.no_grad()
    def _load(self, window: Window, inputs: FileIO, targets: FileIO) -> Rows:
        pin = self._device.type == "cuda"  # lets the copy to the device run while it trains
        values, labels = self._inputs.read(inputs, window.runs, pin=pin), self._targets.read(targets, window.runs, pin=pin)
        if self._device.type == "cpu":
            return _arrange(values, window.order, self._transform), _arrange(labels, window.order, lambda rows: rows)
        order = None if window.order is None else torch.from_numpy(window.order).to(self._device)
        values, labels = (rows.to(self._device, non_blocking=pin) for rows in (values, labels))
        if order is not None:
            values, labels = values[order], labels[order]
        return self._transform(values), labels


class _Column:
    """One array in a file: where its rows are, and what the file was like when it was opened."""

    def __init__(self, rows: Mapped) -> None:
        whole: object = rows.base  # of a part it is the array that it is a part of, whose offset it keeps
        assert isinstance(whole, mmap)
        assert rows.flags.c_contiguous
        assert rows.filename is not None
        self.row_bytes = rows.nbytes // max(1, len(rows))
        self._path, self._offset, self._shape = Path(rows.filename), rows.offset, rows.shape[1:]
        self._dtype = torch.from_numpy(np.empty(0, rows.dtype)).dtype
        self._stamp = _stamp(self._path.stat())

    def open(self) -> FileIO:
        """Open the file; raise UserError when it is not the one that was mapped."""
        file = FileIO(self._path)
        found = _stamp(os.fstat(file.fileno()))
        if changed := [name for name, value in self._stamp.items() if found[name] != value]:
            file.close()
            raise self._changed(f"{changed[0]} was {self._stamp[changed[0]]} and is {found[changed[0]]}")
        return file

    def read(self, file: FileIO, runs: list[tuple[int, int]], *, pin: bool) -> Tensor:
        """Return rows (n, *shape) on the CPU; raise UserError when the file ends too soon."""
        shape = (sum(stop - start for start, stop in runs), *self._shape)
        rows = torch.empty(shape, dtype=self._dtype, pin_memory=True) if pin else _empty(shape, self._dtype)
        spans = [(self._offset + start * self.row_bytes, (stop - start) * self.row_bytes) for start, stop in runs]
        if hasattr(os, "posix_fadvise"):  # not on macOS; all blocks are asked for at once, which halves the time of a cold disk
            for at, size in spans:
                os.posix_fadvise(file.fileno(), at, size, os.POSIX_FADV_WILLNEED)
        left = rows.numpy().data.cast("B")
        for at, size in spans:
            file.seek(at)
            got = 0
            while got < size:
                read = file.readinto(left[got:size])
                if not read:
                    raise self._changed(f"it ends at byte {at + got}, rows were expected there")
                got += read
            left = left[size:]
        return rows

    def _changed(self, what: str) -> UserError:
        return UserError(
            f"{self._path}: the file changed while training read it ({what}); delete its folder, run prepare again, train anew"
        )


def _stamp(stat: os.stat_result) -> dict[str, int]:
    return {"size": stat.st_size, "modified (ns)": stat.st_mtime_ns, "inode": stat.st_ino}


def _arrange(rows: Tensor, order: NDArray[np.int64] | None, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """Return rows on the CPU in order, transformed piece by piece, so that a piece stays in the processor's cache."""
    count = len(rows) if order is None else len(order)
    at_once = max(1, _PIECE_BYTES // (rows.nbytes // len(rows)))
    arranged: Tensor | None = None
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        # numpy's take is three times as fast as torch's index_select
        piece = transform(rows[part] if order is None else torch.from_numpy(rows.numpy().take(order[part], axis=0)))
        if arranged is None:
            arranged = _empty((count, *piece.shape[1:]), piece.dtype)
        arranged[part] = piece
    assert arranged is not None
    return arranged


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return memory as numpy takes it: in huge pages; torch takes small ones, and waits for thousands of them."""
    return torch.from_numpy(np.empty(shape, torch.empty(0, dtype=dtype).numpy().dtype))


def _ahead(windows: Generator[Rows]) -> Generator[Rows]:
    """Yield each window, while a thread makes the next one; the thread ends with this generator."""
    with closing(windows), ThreadPoolExecutor(1, thread_name_prefix="rows") as thread:
        coming = thread.submit(next, windows, None)
        while (window := coming.result()) is not None:
            coming = thread.submit(next, windows, None)
            yield window


def _cut(windows: Generator[Rows], sizes: Iterable[int]) -> Generator[Rows]:
    """Yield batches of the given sizes from windows of any size; close the windows."""
    with closing(windows):
        inputs, targets = next(windows)
        at = 0
        for size in sizes:
            parts, missing = [], size
            while missing:
                if at == len(targets):
                    inputs, targets = next(windows)
                    at = 0
                parts.append((inputs[at : at + missing], targets[at : at + missing]))
                at, missing = at + len(parts[-1][1]), missing - len(parts[-1][1])
            yield parts[0] if len(parts) == 1 else (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
