"""Rows of text files (CSV, TSV and their relatives): checked byte by byte, typed by all rows, spilled as Parquet.

A file is read once, in blocks of whole records, by as many threads as there are cores. Where a late block shows that a column
is text, the blocks that took it for numbers are read again, and no others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import TableData
from pipeline.data.findings import Finding
from pipeline.data.in_order import in_order
from pipeline.data.sources.byte_blocks import blocks, misquoted_error
from pipeline.data.sources.cells import Parsed, Written, parse, wider
from pipeline.data.sources.conversions import not_finite
from pipeline.data.sources.records import Misquoted, Ragged, Records, index
from pipeline.data.sources.text_begin import TextFile, check_encoding, header_bytes, text_files
from pipeline.data.table import Table, Tell
from pipeline.errors import DataError

_SAMPLE_RECORDS_BYTES = 1 << 20  # that the first types are read from


@dataclass(frozen=True)
class _Block:
    """Whole records without the header, as they stand in a file from `line` on, counted from 1."""

    file: TextFile
    data: bytes
    line: int
    read: int  # bytes of the file, packed as it is, until here
    number: int = 0


@dataclass
class _Part:
    """A block that is spilled."""

    path: Path
    file: TextFile
    line: int
    rows: int
    lines: NDArray[np.int32] | None
    written: dict[str, Written]
    empty: frozenset[str]  # columns without any value
    infinite: dict[str, list[int]] = field(default_factory=dict)


def open_text(section: TableData, scratch: Path, *, tell: Tell) -> Table:
    """Return the table of `data.path`, and of the files for validation and test rows below it, with typed cells.

    Cells are Int64, Float64 or String; rows spill into compressed Parquet in `scratch`, which must outlive the table. `tell` is
    called with the bytes done and their number. Raises DataError, with file and line, for what is no table.
    """
    files = text_files(section)
    scratch.mkdir(parents=True, exist_ok=True)
    parts = _Reading(files, section, scratch, tell).run()
    if not any(part.rows for part in parts if part.file is files[0]):
        raise DataError(f"{files[0].path}: a header line and no rows; rows are needed")
    return _table(parts, files, section)


class _Reading:
    """The passes over all files; types of columns widen while they go on."""

    def __init__(self, files: Sequence[TextFile], section: TableData, scratch: Path, tell: Tell) -> None:
        self.files, self.section, self.scratch, self.tell = files, section, scratch, tell
        self.written: dict[str, Written] = {}
        self.total = sum(file.path.stat().st_size for file in files)

    def run(self) -> list[_Part]:
        parts: dict[int, _Part] = {}
        self._pass(parts, only=None)
        again = {number for number, part in parts.items() if self._lost_text(part)}
        if again:
            self._pass(parts, only=again)
        for part in parts.values():
            self._widen(part)
        return [parts[number] for number in sorted(parts)]

    def _pass(self, parts: dict[int, _Part], *, only: set[int] | None) -> None:
        """Parse blocks in parallel, a few at a time; results are taken in order, so that the first fault is reported."""
        for number, part in in_order(self._spilled, self._typed(only)):
            parts[number] = part
            self.written = {
                name: kind if name in part.empty else wider(kind, part.written[name]) for name, kind in self.written.items()
            }
        self.tell(self.total, self.total)

    def _typed(self, only: set[int] | None) -> Iterator[tuple[_Block, dict[str, Written]]]:
        """Yield blocks, of some numbers or all, each with the types that are known when it is its turn."""
        for block in self._blocks():
            if only is None or block.number in only:
                self.written = self.written or _first_types(block, self.section)
                yield block, self.written

    def _spilled(self, typed: tuple[_Block, dict[str, Written]]) -> tuple[int, _Part]:
        return typed[0].number, self._spill(*typed)

    def _blocks(self) -> Iterator[_Block]:
        number = done = 0
        for file in self.files:
            for block in _blocks_of(file):
                yield replace(block, number=number)
                number += 1
                self.tell(done + block.read, self.total)
            done += file.path.stat().st_size

    def _spill(self, block: _Block, written: dict[str, Written]) -> _Part:
        file = block.file
        try:
            records = index(block.data, file.dialect.marks, cells=len(file.names))
        except Misquoted as misquoted:
            raise misquoted_error(misquoted, file.dialect.quote or "", path=file.path, line=block.line) from None
        except Ragged:
            raise _ragged(file) from None
        ordered = {name: written[name] for name in file.names}
        parsed = _parse(records, ordered, file=file, section=self.section)
        path = self.scratch / f"part-{block.number:06}.parquet"
        frame = parsed.frame.select(list(written))
        frame.write_parquet(path, compression="lz4", statistics=False)
        empty = frozenset(name for name in frame.columns if frame[name].null_count() == frame.height)
        return _Part(path, file, block.line, frame.height, records.lines, parsed.written, empty, parsed.infinite)

    def _lost_text(self, part: _Part) -> bool:
        """Return whether a part holds as numbers what is text by now: how it was written is known to the file alone."""
        return any(
            kind == "text" and part.written[name] != "text" and name not in part.empty for name, kind in self.written.items()
        )

    def _widen(self, part: _Part) -> None:
        """Rewrite a part whose columns are narrower than the whole table's."""
        import polars as pl

        if part.written != self.written:
            types = {"whole": pl.Int64, "fraction": pl.Float64, "text": pl.String}
            frame = pl.read_parquet(part.path, memory_map=False)
            frame = frame.with_columns(pl.col(name).cast(types[kind]) for name, kind in self.written.items())
            frame.write_parquet(part.path, compression="lz4", statistics=False)


def _blocks_of(file: TextFile) -> Iterator[_Block]:
    stream = blocks(file.path, encoding=file.encoding, skip=file.skip, marks=file.marks)
    for count, (data, line, read) in enumerate(stream):
        body = data if count else data[header_bytes(data, file.dialect.marks) :]
        if body:
            yield _Block(file, body, line + data.count(b"\n", 0, len(data) - len(body)), read)


def _parse(records: Records, written: dict[str, Written], *, file: TextFile, section: TableData) -> Parsed:
    """Parse records; where polars refuses, it is for bytes that are not UTF-8."""
    import polars as pl

    try:
        return parse(records, written, dialect=file.dialect, missing=section.missing)
    except pl.exceptions.ComputeError:
        check_encoding(records.data, file)
        raise


def _first_types(block: _Block, section: TableData) -> dict[str, Written]:
    """Return the types that the first records of a table need."""
    file = block.file
    end = len(block.data) if len(block.data) <= _SAMPLE_RECORDS_BYTES else block.data.find(b"\n", _SAMPLE_RECORDS_BYTES) + 1
    narrow: dict[str, Written] = dict.fromkeys(file.names, "whole")
    quote = file.dialect.marks.quote
    if quote is not None and block.data.count(bytes([quote]), 0, end) % 2:
        return narrow
    try:
        records = index(block.data[:end], file.dialect.marks, cells=len(file.names))
    except (Misquoted, Ragged):
        return narrow  # the block itself will say so
    return _parse(records, narrow, file=file, section=section).written


def _ragged(file: TextFile) -> DataError:
    """Say which records of a file are of another width than its header, and how many."""
    found: list[tuple[int, int]] = []
    total = 0
    for block in _blocks_of(file):
        try:
            index(block.data, file.dialect.marks, cells=len(file.names))
        except Ragged as ragged:
            found += [(block.line + line, cells) for line, cells in ragged.found]
            total += ragged.total
        except Misquoted as misquoted:
            return misquoted_error(misquoted, file.dialect.quote or "", path=file.path, line=block.line)
    lines = [
        f"{file.path}: line {line}: {cells:,} cell{'s' * (cells != 1)} where the header has {len(file.names):,}"
        for line, cells in found[:5]
    ]
    advice = "repair them; a cell that contains the delimiter must be quoted"
    lines[-1] += f" ({total:,} such lines)" * (total > len(lines)) + f"; {advice}"
    return DataError(*lines)


def _table(parts: Sequence[_Part], files: Sequence[TextFile], section: TableData) -> Table:
    import polars as pl

    starts = np.cumsum([0, *(part.rows for part in parts)])

    def place(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        part, offset = parts[number], row - int(starts[number])
        line = part.line + (offset if part.lines is None else int(part.lines[offset]))
        return f"line {line}" if len(files) == 1 else f"{part.file.path.name} line {line}"

    given = None
    if len(files) > 1:
        given = np.repeat([part.file.split for part in parts], [part.rows for part in parts]).astype(np.int8)
    frame = pl.scan_parquet([part.path for part in parts if part.rows], glob=False)
    return Table(frame, int(starts[-1]), section.path, place, given, _infinite(parts, starts, place))


def _infinite(parts: Sequence[_Part], starts: NDArray[np.int64], place: Callable[[int], str]) -> tuple[Finding, ...]:
    found: dict[str, list[int]] = {}
    for part, start in zip(parts, starts.tolist(), strict=False):
        for name, rows in part.infinite.items():
            found.setdefault(name, []).extend(start + row for row in rows)
    return tuple(not_finite(name, rows[:5], len(rows), place) for name, rows in found.items())
