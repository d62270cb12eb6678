"""Encoded rows on their way to disk: one file for each split, in the order of the source, never all in memory."""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS

_BLOCK_BYTES = 4 * 1024 * 1024  # what is larger is memory that the system hands out anew for each block


class RowFile:
    """An .npy file that is written row by row, and synced when it is whole."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        """Write the header for an array of this shape, (rows, *row)."""
        self.path, self.shape, self._written = path, shape, 0
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._dtype = np.dtype(dtype)
        self._file.flush()
        _reserve(self._file.fileno(), self._file.tell() + math.prod(shape) * self._dtype.itemsize)

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self._written += len(rows)

    def close(self, *, whole: bool = True) -> None:
        """Close the file; a whole one is synced to the disk, another one is about to be deleted with its folder."""
        if whole:
            assert self._written == self.shape[0]
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()


class SplitFiles:
    """The inputs of the three splits; rows come in the order of the source."""

    def __init__(self, out: Path, assignment: NDArray[np.int8], shape: tuple[int, ...]) -> None:
        """Begin the files. assignment: (rows,) index into SPLITS, negative for rows left out; shape: of one row."""
        self._assignment = assignment
        counts = [int((assignment == index).sum()) for index in range(len(SPLITS))]
        self._files = [
            RowFile(out / f"{split}.inputs.npy", (count, *shape), np.float32)
            for split, count in zip(SPLITS, counts, strict=True)
        ]

    def write(self, start: int, rows: NDArray[np.float32]) -> None:
        """Write the rows that the source has from number `start` on, each to its split."""
        self.append(self.parted(start, rows))

    def parted(self, start: int, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the rows of each split among those that the source has from number `start` on; for any thread."""
        chosen = self._assignment[start : start + len(rows)]
        return [rows[chosen == index] for index in range(len(SPLITS))]

    def append(self, parts: Sequence[NDArray[np.float32]]) -> None:
        """Write what `parted` returned, in the order of the source."""
        for file, part in zip(self._files, parts, strict=True):
            file.write(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for file in self._files:
            file.close(whole=kind is None)


def _reserve(descriptor: int, size_bytes: int) -> None:
    """Let the file system find the place at once, which makes writing several times as fast; raise OSError if there is none."""
    if not size_bytes or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:  # of file systems that cannot do this
            raise


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a whole array, row by row as it is streamed later."""
    file = RowFile(path, array.shape, array.dtype)
    file.write(array)
    file.close()


def rows_of(path: Path) -> int:
    """Return the number of rows of a file."""
    return int(np.load(path, mmap_mode="r", allow_pickle=False).shape[0])


def read_columns(path: Path, positions: list[int]) -> NDArray[np.float32]:
    """Return (rows, positions) of a file of encoded rows."""
    return np.concatenate([rows[:, positions] for rows in _blocks(path)])


def read_sample(path: Path, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Return some rows of a file, by their ascending positions in it."""
    parts, start = [], 0
    for rows in _blocks(path):
        low, high = np.searchsorted(numbers, (start, start + len(rows)))
        parts.append(rows[numbers[low:high] - start])
        start += len(rows)
    return np.concatenate(parts)


def _blocks(path: Path) -> Iterator[NDArray[Any]]:
    """Yield all rows, some at a time. The file is read, not mapped: mapped pages count as this process's memory."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        row = math.prod(shape[1:])
        step = max(1, _BLOCK_BYTES // max(1, row * dtype.itemsize))
        for start in range(0, max(1, shape[0]), step):
            count = min(step, shape[0] - start)
            yield np.fromfile(file, dtype, count * row).reshape(count, *shape[1:])
