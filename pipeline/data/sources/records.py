"""Where the records and cells of a piece of a text file are, proven before any parser turns them into values.

A parser that fills short rows, or that takes a stray quote for a letter, would shift values between columns without a word. So
each block of whole lines is indexed first: which of its bytes separate cells, and that all records are as
wide as the header.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.data.sources import bits
from pipeline.data.sources.bits import Bits, Positions

_NEWLINE, _ZERO, _NINE = 10, ord("0"), ord("9")
_FEW = 1 << 12  # suspects whose columns are found first
_SPACES = (ord(" "), ord("\t"), 0xC2, 0xA0)  # the last two begin and end a non-breaking space


@dataclass(frozen=True)
class Marks:
    """What separates cells and how cells are quoted: one byte each; quote None: nothing is quoted."""

    delimiter: int
    quote: int | None


@dataclass(frozen=True)
class Records:
    """Whole records without blank lines, each ended by a line feed.

    separators: which bytes are the delimiter or line feed behind a cell. quotes: which are quotes; None where none is. lines:
    (rows,) line of each record within the block, from 0; None where record i is line i.
    """

    data: bytes
    rows: int
    cells: int
    separators: Bits
    quotes: Bits | None
    lines: NDArray[np.int32] | None

    def __len__(self) -> int:
        """Return the number of records."""
        return self.rows

    @cached_property
    def ends(self) -> Positions:
        """Position of the delimiter or line feed behind each cell, (rows, cells)."""
        return bits.positions(self.separators).reshape(self.rows, self.cells)

    @cached_property
    def starts(self) -> Positions:
        """Position of the first byte of each cell, (rows, cells); of an empty cell: its end."""
        flat = self.ends.reshape(-1)
        return np.concatenate(([0], flat[:-1] + 1))[: flat.size].reshape(self.ends.shape)

    @property
    def block(self) -> NDArray[np.uint8]:
        """The block's bytes."""
        return np.frombuffer(self.data, np.uint8)

    def padded(self, columns: Collection[int]) -> set[int]:
        """Return those of these columns that have cells with a space or a quote at an edge."""
        begins = bits.behind(self.separators, first=True) & ~self.separators
        spaces = [space for space in _SPACES if bytes([space]) in self.data]
        suspects = np.zeros_like(begins) if self.quotes is None else begins & self.quotes
        if spaces:
            suspects |= bits.equal(self.block, *spaces) & (begins | bits.before(self.separators)) & ~self.separators
        return self._columns_of(suspects, columns)

    def words(self, words: Sequence[str]) -> list[str]:
        """Return those of these words that are cells, quoted or not; also such as are followed by a doubled quote."""
        coded = {word: word.encode("utf-8") for word in words if word}
        if not coded:
            return []
        block, last = self.block, len(self.data) - 1
        begins = self._begins() & bits.equal(block, *{code[0] for code in coded.values()})
        begun = bits.positions(begins)
        first, second = block[begun], block[np.minimum(begun + 1, last)]
        edges = self.separators if self.quotes is None else self.separators | self.quotes
        found = []
        for word, code in coded.items():
            here = begun[(first == code[0]) & (second == code[1])] if len(code) > 1 else begun[first == code[0]]
            for some in (here[:_FEW], here[_FEW:]):
                if len(some) and self._ends_any(some, code, edges):
                    found.append(word)
                    break
        return found

    def _ends_any(self, begun: Positions, code: bytes, edges: Bits) -> bool:
        """Return whether any of the cells that begin at these places is this word."""
        last = len(self.data) - 1
        for offset, byte in enumerate(code):
            begun = begun[self.block[np.minimum(begun + offset, last)] == byte]
        return bool(bits.at(edges, np.minimum(begun + len(code), last)).any())

    def _begins(self) -> Bits:
        """Return which bytes begin the content of a cell, before a quote as well as behind it."""
        begins = bits.behind(self.separators, first=True)
        return begins if self.quotes is None else begins | bits.behind(begins & self.quotes)

    def zero_led(self, columns: Collection[int]) -> dict[int, list[bytes]]:
        """Return the cells of these columns that are written as 007 is: a zero before another digit, after a sign or none.

        Columns without such cells are left out; a quote before the sign is, too.
        """
        number = bits.digits(self.block)
        begins = self._begins()
        led = bits.equal(self.block, _ZERO) & bits.before(number)
        suspects = self._columns_of(begins & (led | (bits.before(led) & ~number)), columns)
        found = {column: self._zero_led(column) for column in sorted(suspects)}
        return {column: cells for column, cells in found.items() if cells}

    def _zero_led(self, column: int) -> list[bytes]:
        block, at = self.block, self.starts[:, column]
        if self.quotes is not None:
            at = at + bits.at(self.quotes, at)
        for sign in b"+-":
            at = at + (block[at] == sign)
        following = block[np.minimum(at + 1, len(block) - 1)]
        led = np.flatnonzero((block[at] == _ZERO) & (following >= _ZERO) & (following <= _NINE))
        ends = self.ends[led, column].tolist()
        return [self.data[start:end] for start, end in zip(at[led].tolist(), ends, strict=True)]

    def _columns_of(self, suspects: Bits, columns: Collection[int]) -> set[int]:
        """Return those of these columns that have a suspect byte."""
        at = bits.positions(suspects)
        found: set[int] = set()
        for some in (at[:_FEW], at[_FEW:]):  # all are found among a few where each cell is quoted
            if len(some) and len(found) < len(columns):
                seen = np.bincount(bits.ranks(self.separators, some) % self.cells, minlength=self.cells)
                found |= {column for column in columns if seen[column]}
        return found

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
    newlines = bits.equal(block, _NEWLINE)
    edges = newlines | bits.equal(block, marks.delimiter)
    quotes = bits.equal(block, marks.quote) if marks.quote is not None and bytes([marks.quote]) in data else None
    separators, broken = edges, False
    if quotes is not None:
        hidden = bits.inside(quotes)
        if _misplaced(quotes, hidden, edges):
            check_quotes(data, marks)
        separators = edges & ~hidden
        broken = bool((newlines & hidden).any())
    stops = bits.positions(newlines & separators)
    wanted = np.arange(cells - 1, cells * len(stops), cells)
    if not np.array_equal(bits.ranks(separators, stops), wanted):
        return _irregular(data, bits.positions(separators), marks=marks, cells=cells)
    begins = np.concatenate(([0], stops[:-1] + 1))
    lines = _lines(bits.positions(newlines), begins) if broken else None
    return Records(data, len(stops), cells, separators, quotes, lines)


def _misplaced(quotes: Bits, hidden: Bits, edges: Bits) -> bool:
    """Return whether `check_quotes` would refuse one."""
    fine = edges | quotes
    opening, closing = quotes & hidden, quotes & ~hidden
    return bool(((opening & ~bits.behind(fine, first=True)) | (closing & ~bits.before(fine))).any())


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
        return Records(b"", 0, cells, np.empty(0, dtype=np.uint64), None, np.empty(0, dtype=np.int32))
    return replace(index(kept, marks, cells=cells), lines=lines[~blank])


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
