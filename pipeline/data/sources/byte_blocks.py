"""A text file as blocks of whole records in UTF-8, however it is packed and encoded; what is no text is refused."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

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
Decode = Callable[[bytes, bool], bytes]


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


def decoder(encoding: str, *, path: Path) -> Decode:
    """Return a function from bytes of an encoding to UTF-8 with line feeds; its second argument says: these are the last."""
    plain = encoding in {"utf-8", "ascii"}
    incremental = codecs.getincrementaldecoder(encoding)()
    held = b""

    def decode(data: bytes, last: bool) -> bytes:
        nonlocal held
        if not plain:
            try:
                data = incremental.decode(data, last).encode("utf-8")
            except UnicodeError as error:
                raise DataError(f"{path}: the bytes are no {encoding} ({error}); name the right data.encoding") from None
        if b"\r" not in data and not held:
            return data
        data = held + data
        held = b"\r" if data.endswith(b"\r") and not last else b""
        data = data[: len(data) - len(held)]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    return decode


def blocks(path: Path, *, encoding: str, skip: int, marks: Callable[[bytes], Marks]) -> Iterator[tuple[bytes, int, int]]:
    """Yield (whole records, line of the first, from 1, bytes of the file read so far), in order.

    `marks` is asked once, with the first bytes. Raises DataError, with the line, for NUL bytes and a cell that never ends.
    """
    decode = decoder(encoding, path=path)
    known: Marks | None = None
    rest, line, last = b"", 1, False
    with opened(path) as (stream, raw):
        stream.read(skip)
        while not last:
            read = stream.read(BLOCK_BYTES)
            last = not read
            data = rest + decode(read, last)
            if last and data and not data.endswith(b"\n"):
                data += b"\n"
            if (at := data.find(b"\0", len(rest))) >= 0:
                found = line + data.count(b"\n", 0, at)
                raise DataError(
                    f"{path}: line {found}: a NUL byte; the file is binary or in another encoding: name it as data.encoding, "
                    "such as utf-16"
                )
            if known is None:
                known = marks(data)
            cut = _cut(data, known)
            if cut < len(data) and (last or len(data) - cut > _LONGEST):
                raise _unclosed(data[cut:], known, path=path, line=line + data.count(b"\n", 0, cut))
            block, rest = data[:cut], data[cut:]
            if block:
                yield block, line, raw.tell()
                line += count(block, ord("\n"))


def count(data: bytes, byte: int, *, end: int | None = None) -> int:
    """Return how often a byte occurs up to `end`; several times as fast as bytes.count."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8)[:end] == byte))


def _cut(data: bytes, marks: Marks) -> int:
    """Return where the last whole record ends: behind a line feed with an even number of quotes before it."""
    end = data.rfind(b"\n") + 1
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
