"""A text file as blocks of whole records in UTF-8, however it is packed and encoded; what is no text is refused."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.data.sources.bits import pieces
from pipeline.data.sources.records import Marks, Misquoted, check_quotes
from pipeline.errors import DataError

BLOCK_BYTES = 8 << 20
_LONGEST = 64 << 20  # of one record
_MAGIC = (
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"PK\x03\x04", "a zip or Excel file; unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file; save the sheet as CSV"),
    (b"ARROW1", "an Arrow file; write it as Parquet"),
    (b"\x93NUMPY", "an array of NumPy; use data.source=arrays"),
    (b"%PDF", "a PDF file; a table is needed"),
    (b"BZh", "packed by bzip2; unpack it, or pack it by gzip"),
    (b"\xfd7zXZ", "packed by xz; unpack it, or pack it by gzip"),
    (b"\x28\xb5\x2f\xfd", "packed by zstandard; unpack it, or pack it by gzip"),
)
_GZIP = b"\x1f\x8b"


def check_path(path: Path, key: str) -> None:
    """Raise DataError unless a path names a file that may hold text."""
    if not path.exists():
        near = sorted(found.name for found in path.parent.iterdir())[:5] if path.parent.is_dir() else []
        there = f"; {path.parent} has {', '.join(near)}" if near else ""
        raise DataError(f"{key}: there is no file {path}{there}")
    if path.is_dir():
        raise DataError(f"{key}: {path} is a folder; name one text file, or a folder of .parquet files")
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise DataError(f"{path}: the file is empty; a header line and rows are needed")
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise DataError(f"{path}: this is {what}")
    if path.suffix == ".gz" and not head.startswith(_GZIP):
        raise DataError(f"{path}: no gzip file, though it is called .gz (it begins with {head[:4]!r}); rename or pack it")


@contextmanager
def opened(path: Path) -> "Iterator[tuple[BinaryIO, BinaryIO]]":
    """Yield a stream of the unpacked bytes, and the one below it, whose position tells how much is done."""
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if not packed:
            yield raw, raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            try:
                yield unpacked, raw  # type: ignore[misc]  # a GzipFile reads as a BinaryIO does
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(f"{path}: the gzip file is damaged or cut off ({error}); fetch or pack it again") from None


class _Decoder:
    """Bytes of an encoding, piece after piece, become UTF-8 with line feeds."""

    def __init__(self, encoding: str, *, path: Path) -> None:
        self._plain = encoding in {"utf-8", "ascii"}
        self._incremental = codecs.getincrementaldecoder(encoding)()
        self._held = b""  # a carriage return that a line feed may follow
        self._encoding, self._path = encoding, path

    def __call__(self, data: bytes, last: bool) -> bytes:
        """Return the next bytes; `last`: none come after these."""
        if not self._plain:
            try:
                data = self._incremental.decode(data, last).encode("utf-8")
            except UnicodeError as error:
                raise DataError(
                    f"{self._path}: the bytes are no {self._encoding} ({error}); name the right data.encoding"
                ) from None
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") and not last else b""
        data = data[: len(data) - len(self._held)]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def leaves(self, data: bytearray, start: int, end: int) -> bool:
        """Return whether a piece is what it would become."""
        return self._plain and not self._held and data.find(b"\r", start, end) < 0


class _Window:
    """The bytes between what was yielded and what was read; its memory is used again, since fresh pages cost a pass each."""

    def __init__(self, stream: BinaryIO, decode: _Decoder) -> None:
        # Twice as large as needed: once it is freed, glibc keeps as much of freed memory for later blocks (mallopt(3),
        # M_TRIM_THRESHOLD) instead of having the kernel clear the pages of each block anew, a third of the time of reading.
        self.data, self.filled = bytearray(2 * BLOCK_BYTES), 0
        self._stream, self._decode = stream, decode

    def read(self) -> bool:
        """Read the next bytes behind those that are there; return whether they were the last."""
        start = self.filled
        self._grow(start + BLOCK_BYTES)
        with memoryview(self.data) as view:
            end: int = start + self._stream.readinto(view[start : start + BLOCK_BYTES])  # type: ignore[attr-defined]
        if self._decode.leaves(self.data, start, end):
            self.filled = end
        else:
            self.put(self._decode(bytes(self.data[start:end]), end == start))
        return end == start

    def put(self, more: bytes) -> None:
        """Add bytes behind those that are there."""
        self._grow(self.filled + len(more))
        self.data[self.filled : self.filled + len(more)] = more
        self.filled += len(more)

    def take(self, length: int) -> bytes:
        """Remove the first bytes and return them."""
        with memoryview(self.data) as view:
            taken = bytes(view[:length])
            rest = bytes(view[length : self.filled])
            view[: len(rest)] = rest
        self.filled = len(rest)
        return taken

    def _grow(self, size: int) -> None:
        if size > len(self.data):
            self.data += bytes(size - len(self.data))


def blocks(path: Path, *, encoding: str, skip: int, marks: Callable[[bytes], Marks]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (whole records, line of the first, from 1, bytes of the file read so far), in order.

    `marks` is asked once, with the first bytes. Raises DataError, with the line, for NUL bytes and a cell that never ends.
    """
    known: Marks | None = None
    line, last = 1, False
    with opened(path) as (stream, raw):
        stream.read(skip)
        window = _Window(stream, _Decoder(encoding, path=path))
        while not last:
            checked = window.filled
            last = window.read()
            data = window.data
            if last and window.filled and data[window.filled - 1] != ord("\n"):
                window.put(b"\n")
            if (at := data.find(b"\0", checked, window.filled)) >= 0:
                found = line + data.count(b"\n", 0, at)
                raise DataError(
                    f"{path}: line {found}: a NUL byte; the file is binary or in another encoding: name it as data.encoding, "
                    "such as utf-16"
                )
            if known is None:
                known = marks(bytes(data[: window.filled]))
            cut = _cut(data, known, end=window.filled)
            if cut < window.filled and (last or window.filled - cut > _LONGEST):
                raise _unclosed(bytes(data[cut : window.filled]), known, path=path, line=line + data.count(b"\n", 0, cut))
            if cut:
                lines = count(data, ord("\n"), end=cut)
                yield window.take(cut), line, raw.tell()
                line += lines


def count(data: bytes | bytearray, byte: int, *, end: int | None = None) -> int:
    """Return how often a byte occurs up to `end`; several times as fast as bytes.count."""
    return sum(int(np.count_nonzero(piece == byte)) for _, piece in pieces(np.frombuffer(data, np.uint8)[:end]))


def _cut(data: bytearray, marks: Marks, *, end: int) -> int:
    """Return where the last whole record before `end` ends: behind a line feed with an even number of quotes before it."""
    end = data.rfind(b"\n", 0, end) + 1
    if marks.quote is None:
        return end
    quote = bytes([marks.quote])
    odd = count(data, marks.quote, end=end) % 2
    while odd and end:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd = (odd + data.count(quote, before, end)) % 2
        end = before
    return end


def _unclosed(data: bytes, marks: Marks, *, path: Path, line: int) -> DataError:
    """Say where a quoted cell begins that does not end, or the first quote that is out of place."""
    assert marks.quote is not None
    quote = chr(marks.quote)
    try:
        check_quotes(data + bytes([marks.quote]), marks)
    except Misquoted as misquoted:
        return misquoted_error(misquoted, quote, path=path, line=line)
    begun = line + data.count(b"\n", 0, data.rfind(quote.encode()))
    return DataError(
        f"{path}: line {begun}: a quoted cell begins and never ends; close its quote {quote}, or set data.quote=none if quotes "
        "are letters"
    )


def misquoted_error(misquoted: Misquoted, quote: str, *, path: Path, line: int) -> DataError:
    """Return what to say of a quote that is out of place, in a block that begins on `line`."""
    advice = f"double quotes inside of quoted cells ({quote * 2}), or set data.quote=none if they are letters"
    if misquoted.opened is not None and misquoted.opened != misquoted.line:
        return DataError(
            f"{path}: line {line + misquoted.opened}: a quoted cell begins and does not end before line "
            f"{line + misquoted.line}, where {misquoted.snippet!r} has a quote inside of a cell; {advice}"
        )
    return DataError(f"{path}: line {line + misquoted.line}: a quote inside of a cell: {misquoted.snippet!r}; {advice}")


def not_utf8(path: Path, *, skip: int) -> DataError:
    """Return what to say of a file whose bytes are not UTF-8: line, offset and bytes of the first that are not."""
    line, offset, rest = 1, skip, b""
    with opened(path) as (stream, _):
        stream.read(skip)
        while read := stream.read(BLOCK_BYTES):
            data = rest + read
            try:
                data.decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                if error.start < len(data) - 3:
                    line += data.count(b"\n", 0, error.start)
                    return _not_utf8(path, line, offset + error.start, data[error.start : error.start + 4])
                rest = data[error.start :]
            line += data.count(b"\n", 0, len(data) - len(rest))
            offset += len(data) - len(rest)
    return _not_utf8(path, line, offset, rest)


def _not_utf8(path: Path, line: int, offset: int, seen: bytes) -> DataError:
    return DataError(
        f"{path}: line {line}: the bytes {seen.hex(' ')} at offset {offset:,} are not UTF-8 (as latin-1: "
        f"{seen.decode('latin-1')!r}); name the encoding, such as data.encoding=latin-1"
    )
