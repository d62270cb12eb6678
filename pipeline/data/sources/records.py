"""Where the records and cells of a piece of a text file are, proven before any parser turns them into values.

A parser that fills short rows, or that takes a stray quote for a letter, would shift values between columns without a word. So
each block of whole lines is indexed first: positions of delimiters and line ends outside of quotes, in a few passes of NumPy.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_NEWLINE, _ZERO, _NINE = 10, ord("0"), ord("9")
_PIECE = 1 << 18
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Marks:
    """What separates cells and how cells are quoted: one byte each; quote None: nothing is quoted."""

    delimiter: int
    quote: int | None


@dataclass(frozen=True)
class Records:
    """Whole records without blank lines, each ended by a line feed.

    ends: (rows, cells) position of the delimiter or line feed behind each cell. lines: (rows,) line of each record within the
    block, from 0; None where record i is line i.
    """

    data: bytes
    ends: Positions
    lines: NDArray[np.int32] | None

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.ends)

    @cached_property
    def starts(self) -> Positions:
        """Position of the first byte of each cell, (rows, cells); of an empty cell: its end."""
        flat = self.ends.reshape(-1)
        return np.concatenate(([0], flat[:-1] + 1))[: flat.size].reshape(self.ends.shape)

    @property
    def block(self) -> NDArray[np.uint8]:
        """The block's bytes."""
        return np.frombuffer(self.data, np.uint8)

    def edges(self, column: int) -> NDArray[np.uint8]:
        """Return first and last byte of each cell of a column, (2, rows); of an empty cell: a separator."""
        return np.stack((self.block[self.starts[:, column]], self.block[np.maximum(self.ends[:, column] - 1, 0)]))

    def zero_led(self, columns: list[int], quote: int | None) -> list[bytes]:
        """Return the cells of these columns that are written as 007 is: a zero before another digit, after a sign or none."""
        block, wanted = self.block, np.zeros(self.ends.shape[1], dtype=bool)
        wanted[columns] = True
        signs = [mark for mark in (quote, ord("+"), ord("-")) if mark is not None]
        suspects = np.flatnonzero(_any_of(block[self.starts], [_ZERO, *signs]) & wanted)
        at = self.starts.reshape(-1)[suspects]
        for mark in signs:  # a quote, then a sign
            at = at + (block[at] == mark)
        following = block[np.minimum(at + 1, len(block) - 1)]
        led = (block[at] == _ZERO) & (following >= _ZERO) & (following <= _NINE)
        ends = self.ends.reshape(-1)[suspects[led]]
        return [self.data[start:end] for start, end in zip(at[led].tolist(), ends.tolist(), strict=True)]

    def cell(self, row: int, column: int) -> bytes:
        """Return a cell as it is written."""
        return self.data[int(self.starts[row, column]) : int(self.ends[row, column])]


class Misquoted(Exception):
    """Raised for a quote that is neither at an edge of a cell nor doubled; `line` counts within the block, from 0."""

    def __init__(self, line: int, opened: int | None, snippet: str) -> None:
        super().__init__(snippet)
        self.line, self.opened, self.snippet = line, opened, snippet


class Ragged(Exception):
    """Raised for records of other lengths than the header's: (line within the block, cells found) of the first ones."""

    def __init__(self, found: list[tuple[int, int]], total: int) -> None:
        super().__init__(found)
        self.found, self.total = found, total


def index(data: bytes, marks: Marks, *, cells: int) -> Records:
    """Find the cells of a block of whole records; raise Misquoted or Ragged for the first ones that are broken."""
    block = np.frombuffer(data, np.uint8)
    found, broken = _separators(block, marks), False
    if marks.quote is not None and bytes([marks.quote]) in data:
        found, inner = _outside(found, check_quotes(data, marks))
        broken = bool((block[inner] == _NEWLINE).any())
    whole = found.size % cells == 0
    grid = found.reshape(-1, cells) if whole else found[None, :0]
    ended = block[grid] == _NEWLINE
    if not whole or not ended[:, -1].all() or ended[:, :-1].any():
        return _irregular(data, found, marks=marks, cells=cells)
    begins = np.concatenate(([0], grid[:-1, -1] + 1))
    return Records(data, grid, _lines(np.flatnonzero(block == _NEWLINE), begins) if broken else None)


def _separators(block: NDArray[np.uint8], marks: Marks) -> Positions:
    """Return where delimiters and line feeds are; in pieces that stay in the processor's cache."""
    found = []
    for start in range(0, len(block), _PIECE):
        piece = block[start : start + _PIECE]
        found.append(np.flatnonzero((piece == marks.delimiter) | (piece == _NEWLINE)) + start)
    return np.concatenate(found)


def _outside(found: Positions, quotes: Positions) -> tuple[Positions, Positions]:
    """Part separators into those that separate, and those between an opening quote and its closing one."""
    first, behind = np.searchsorted(found, quotes).reshape(-1, 2).T
    counts = behind - first
    holding = counts > 0
    first, counts = first[holding], counts[holding]
    inside = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return np.delete(found, inside), found[inside]


def _irregular(data: bytes, found: Positions, *, marks: Marks, cells: int) -> Records:
    """Index a block again without its blank lines, which are no rows; raise Ragged where that is not what is wrong."""
    block = np.frombuffer(data, np.uint8)
    stops = found[block[found] == _NEWLINE]
    begins = np.concatenate(([0], stops[:-1] + 1))
    lines = _lines(np.flatnonzero(block == _NEWLINE), begins)
    lines = np.arange(len(stops), dtype=np.int32) if lines is None else lines
    widths = np.diff(np.searchsorted(found, stops), prepend=-1)
    blank = (begins == stops) & (cells > 1)
    bad = np.flatnonzero((widths != cells) & ~blank)
    if bad.size:
        raise Ragged([(int(lines[row]), int(widths[row])) for row in bad[:5]], int(bad.size))
    kept = np.delete(block, stops[blank]).tobytes()
    if not kept:
        return Records(b"", np.empty((0, cells), dtype=np.int64), np.empty(0, dtype=np.int32))
    return Records(kept, index(kept, marks, cells=cells).ends, lines[~blank])


def _lines(breaks: Positions, begins: Positions) -> NDArray[np.int32] | None:
    """Return the line on which each record begins, from 0; None where each is a line."""
    return None if len(breaks) == len(begins) else np.searchsorted(breaks, begins).astype(np.int32)


def check_quotes(data: bytes, marks: Marks) -> Positions:
    """Return where quotes are, which open and close in turn; raise Misquoted for the first that RFC 4180 has no meaning for.

    One that opens stands at the start of a cell, one that closes at its end; a doubled quote
    closes and opens with nothing between.
    """
    block = np.frombuffer(data, np.uint8)
    at = np.flatnonzero(block == marks.quote)
    edges = [marks.delimiter, _NEWLINE]
    before = np.where(at > 0, block[np.maximum(at - 1, 0)], _NEWLINE)
    behind = np.where(at < len(block) - 1, block[np.minimum(at + 1, len(block) - 1)], _NEWLINE)
    doubled = np.diff(at) == 1
    fine = np.empty(len(at), dtype=bool)
    fine[::2] = _any_of(before[::2], edges) | np.concatenate(([False], doubled))[::2]
    fine[1::2] = _any_of(behind[1::2], edges) | np.concatenate((doubled, [False]))[1::2]
    if fine.all():
        return at
    first = int(np.flatnonzero(~fine)[0])
    place = int(at[first])
    opened = _line_of(block, int(at[first - 1])) if first % 2 else None
    left, right = data[max(place - 12, 0) : place].rpartition(b"\n")[2], data[place : place + 12].partition(b"\n")[0]
    raise Misquoted(_line_of(block, place), opened, (left + right).decode("utf-8", errors="replace"))


def _line_of(block: NDArray[np.uint8], place: int) -> int:
    return int(np.count_nonzero(block[:place] == _NEWLINE))


def _any_of(block: NDArray[np.uint8], values: list[int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = block == values[0]
    for value in values[1:]:
        found |= block == value
    return found
