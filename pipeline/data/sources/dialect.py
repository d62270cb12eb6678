"""How a text file is written: what separates its cells, quotes them, and stands before the fraction of a number."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.config.data_sections import TableData
from pipeline.data.sources.records import Marks
from pipeline.errors import DataError

_DELIMITERS = (",", ";", "\t", "|")
_NAMED = {"tab": "\t", "\\t": "\t", "space": " "}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_RECORDS = 200  # that are compared
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([.,][0-9]{3})+")


@dataclass(frozen=True)
class Dialect:
    """How cells are written; quote None: no character quotes."""

    delimiter: str
    quote: str | None
    decimal: Literal[".", ","]

    @property
    def marks(self) -> Marks:
        """The bytes that separate and quote."""
        return Marks(ord(self.delimiter), None if self.quote is None else ord(self.quote))

    def records(self, text: str) -> list[list[str]]:
        """Return the cells of each record of a short text; blank lines are no records."""
        return [record for record in _reader(text, self.delimiter, self.quote) if record]


def encoding_of(head: bytes, section: TableData) -> tuple[str, int]:
    """Return the encoding of a file that begins with these bytes, and how many of them are its byte order mark."""
    marked = next(((name, len(mark)) for mark, name in _BOMS if head.startswith(mark)), None)
    if section.encoding == "auto":
        return marked or ("utf-8", 0)
    try:
        name = codecs.lookup(section.encoding).name
    except LookupError:
        raise DataError(
            f"data.encoding: no encoding is called {section.encoding!r}; use auto, utf-8, latin-1, cp1252 or utf-16"
        ) from None
    if name in {"utf-8-sig", "utf-16"}:
        return marked or ("utf-8" if name == "utf-8-sig" else "utf-16-le", 0)
    return name, marked[1] if marked and marked[0] == name else 0


def sniff(sample: str, section: TableData, *, path: str) -> Dialect:
    """Return the dialect of a text that begins as `sample` does; what the section names is taken as it is."""
    quote = _quote(sample, section)
    delimiter = _delimiter(sample, section, quote=quote, path=path)
    decimal: Literal[".", ","] = section.decimal if section.decimal != "auto" else "."
    if section.decimal == "auto" and delimiter != ",":
        decimal = _decimal(list(_reader(sample, delimiter, quote))[1:_RECORDS])
    return Dialect(delimiter, quote, decimal)


def _reader(text: str, delimiter: str, quote: str | None) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    if quote is None:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=delimiter, quotechar=quote)


def _quote(sample: str, section: TableData) -> str | None:
    """Return the quote that begins cells; none where double quotes stand in the middle of cells alone."""
    if section.quote == "none":
        return None
    if section.quote != "auto":
        if len(section.quote) != 1 or not section.quote.isascii():
            raise DataError(f"data.quote: {section.quote!r} is not one ASCII character; use auto, none, '\"' or \"'\"")
        return section.quote
    edges = "".join(_NAMED.get(section.delimiter, section.delimiter) if section.delimiter != "auto" else _DELIMITERS)
    begin = f"(?:^|[{re.escape(edges)}]) *"
    if re.search(f'{begin}"', sample, re.MULTILINE) or '"' not in sample:
        single = re.search(f"{begin}'[^'\n]*'(?:$|[{re.escape(edges)}])", sample, re.MULTILINE)
        return "'" if single and '"' not in sample else '"'
    return None


def _delimiter(sample: str, section: TableData, *, quote: str | None, path: str) -> str:
    """Return the delimiter that cuts most records into as many cells as the header; of equals, into most cells."""
    if section.delimiter != "auto":
        delimiter = _NAMED.get(section.delimiter, section.delimiter)
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in {"\n", "\r", quote}:
            raise DataError(f"data.delimiter: {section.delimiter!r} is not one ASCII character; use auto, ',', ';', '|' or tab")
        if len(next(_reader(sample, delimiter, quote), [])) < 2:
            first = sample.lstrip().partition("\n")[0][:60]
            raise DataError(
                f"{path}: line 1: data.delimiter {section.delimiter!r} does not occur in the header ({first!r}); "
                "name the one that does, or use data.delimiter=auto"
            )
        return delimiter
    scores = {delimiter: _consistency(sample, delimiter, quote) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: scores[delimiter])
    if scores[best][1] < 2:
        first = sample.lstrip().partition("\n")[0][:60]
        raise DataError(
            f"{path}: line 1: no comma, semicolon, tab or bar separates the cells of the header ({first!r}); "
            "name what does as data.delimiter; a table needs a target and at least one other column"
        )
    return best


def _consistency(sample: str, delimiter: str, quote: str | None) -> tuple[float, int]:
    """Return the share of records as wide as the header, in tenths, and the header's cells."""
    widths = []
    for record in _reader(sample, delimiter, quote):
        if record:
            widths.append(len(record))
        if len(widths) == _RECORDS:
            break
    if not widths or widths[0] < 2:
        return 0.0, 1
    return round(sum(width == widths[0] for width in widths) / len(widths), 1), widths[0]


def _decimal(records: list[list[str]]) -> Literal[".", ","]:
    """Return the mark that makes more cells fractions; 1.000 and 1,000 may be thousands and count for neither."""
    cells = [cell.strip() for record in records for cell in record if not _THOUSANDS.fullmatch(cell.strip())]
    commas = sum(bool(_COMMA.fullmatch(cell)) for cell in cells)
    points = sum("." in cell and bool(_POINT.fullmatch(cell)) for cell in cells)
    return "," if commas > points else "."
