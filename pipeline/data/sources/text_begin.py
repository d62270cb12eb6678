"""What is read of text files before their rows: encoding, dialect, names. Files of other splits must agree with the first."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.data_sections import TableData
from pipeline.data.sources.byte_blocks import blocks, check_path, misquoted_error, not_utf8, opened
from pipeline.data.sources.dialect import Dialect, encoding_of, sniff
from pipeline.data.sources.header import check_names, check_same, check_target
from pipeline.data.sources.records import Marks, Misquoted, Ragged, index
from pipeline.errors import DataError

_SAMPLE_BYTES = 1 << 18  # that the dialect is read from
_KEYS = ("path", "validation_path", "test_path")


@dataclass(frozen=True)
class TextFile:
    """One text file: its names as they stand in it, and the split of its rows as an index into SPLITS."""

    path: Path
    split: int
    encoding: str
    skip: int
    dialect: Dialect
    names: tuple[str, ...]

    def marks(self, _: bytes) -> Marks:
        """Return the bytes that separate and quote, whatever the file begins with."""
        return self.dialect.marks


def text_files(section: TableData) -> list[TextFile]:
    """Read each file's beginning: dialect and names; the other files are written as the first one is."""
    named = [(split, key, getattr(section, key)) for split, key in enumerate(_KEYS) if getattr(section, key) is not None]
    for _, key, path in named:
        check_path(Path(path), f"data.{key}")
    files: list[TextFile] = []
    for split, _, path in named:
        files.append(_begin(Path(path), split, section, dialect=files[0].dialect if files else None))
    check_target(files[0].names, section.target, origin=section.path)
    check_same(files[0].names, {str(file.path): file.names for file in files[1:]})
    return files


def _begin(path: Path, split: int, section: TableData, *, dialect: Dialect | None) -> TextFile:
    with opened(path) as (stream, _):
        encoding, skip = encoding_of(stream.read(4), section)
    found: list[Dialect] = [dialect] if dialect else []

    def marks(data: bytes) -> Marks:
        if not found:
            sample = data[:_SAMPLE_BYTES]
            sample = sample[: sample.rfind(b"\n") + 1] or sample
            if not sample.strip():
                raise DataError(f"{path}: the file has blank lines only; a header line and rows are needed")
            found.append(sniff(sample.decode("utf-8", errors="replace"), section, path=str(path)))
        return found[0].marks

    data = next((data for data, *_ in blocks(path, encoding=encoding, skip=skip, marks=marks)), b"")
    if not data.strip():
        raise DataError(f"{path}: the file has blank lines only; a header line and rows are needed")
    file = TextFile(path, split, encoding, skip, found[0], ())
    head = data[: header_bytes(data, found[0].marks)]
    check_encoding(head, file)
    line = 1 + len(head) - len(head.lstrip(b"\n"))
    try:
        index(head.lstrip(b"\n"), found[0].marks, cells=1)
    except Misquoted as misquoted:
        raise misquoted_error(misquoted, found[0].quote or "", path=path, line=line) from None
    except Ragged:
        pass  # of any width
    names = tuple(name.strip() for name in found[0].records(head.decode("utf-8"))[0])
    check_names(names, place=f"{path}: line {line}")
    return replace(file, names=names)


def header_bytes(data: bytes, marks: Marks) -> int:
    """Return the length of the header and of blank lines before it."""
    blank = len(data) - len(data.lstrip(b"\n"))
    end = data.find(b"\n", blank) + 1
    while marks.quote is not None and data.count(bytes([marks.quote]), 0, end) % 2 and end:
        end = data.find(b"\n", end) + 1
    return end or len(data)


def check_encoding(data: bytes, file: TextFile) -> None:
    """Raise DataError unless bytes of a file are UTF-8."""
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            raise not_utf8(file.path, skip=file.skip) from None
