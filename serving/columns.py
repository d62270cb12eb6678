"""From a cell as people write it to numbers: text to an integer code, a date to day and second.

Nothing else is done outside the graph. The `prepare` stage calls `encode` for the distinct values of each column, the service
an `Encoder` for the rows of a request: the tables behind them travel in the schema, so both give the same numbers. A missing
value is NaN; so is an empty text.

    encode(Feature("city", 1, 2, "category", ("Bern", "Zürich")), ["Bern", None, "Rome"])   # [[1], [nan], [0]]
    Encoder(schema).encode([["Bern", 3.5], ["Rome", None]])                                 # (rows, *schema.shape)
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from serving.schema import Array, ColumnKind, Feature, Schema

UNSEEN = 0  # the code of a category that no train row had
TOO_LARGE = "the number does not fit into 32-bit floating point"
_WHOLE = re.compile(r"-?[0-9]{1,9}\.0{1,9}")
_PLAIN = {"false": 0.0, "true": 1.0}
_EPOCH = datetime(1970, 1, 1)  # times are compared as they are written
_LONGEST = 60  # characters of a cell that a message repeats

Convert = Callable[[Any], tuple[float, ...]]  # a cell that is not missing -> feature.width numbers


class Unfit(ValueError):
    """Raised for a cell that its column cannot hold; `index` is its place in the given sequence, `column` in its row."""

    def __init__(self, message: str, index: int, column: int = 0) -> None:
        super().__init__(message)
        self.index, self.column = index, column


class Encoder:
    """The columns of a schema, ready to encode rows; the tables of categories are built once."""

    def __init__(self, schema: Schema) -> None:
        """Take the schema of a table with features."""
        self._width = sum(feature.width for feature in schema.features)
        self._columns = [
            (_CONVERTERS[feature.kind](feature), (np.nan,) * feature.width if feature.nullable else None)
            for feature in schema.features
        ]
        self._of_value = [column for column, feature in enumerate(schema.features) for _ in range(feature.width)]

    def encode(self, rows: Sequence[Sequence[Any]]) -> Array:
        """Return (rows, values) float32, NaN where a cell is missing.

        rows: cells in the schema's order, one for each feature. Raises Unfit for a cell that its column cannot hold, or that
        is missing where no train row lacked it.
        """
        numbers: list[float] = []
        for index, row in enumerate(rows):
            for column, ((convert, missing), cell) in enumerate(zip(self._columns, row, strict=True)):
                try:
                    numbers += (missing or _refuse(cell)) if is_missing(cell) else convert(cell)
                except ValueError as error:
                    raise Unfit(str(error), index, column) from error
        try:
            return _array(numbers, self._width)
        except Unfit as error:
            raise Unfit(str(error), error.index, self._of_value[error.column]) from error


def encode(feature: Feature, cells: Sequence[Any]) -> Array:
    """Return (cells, feature.width) float32, NaN where missing; raise Unfit for the first cell that the column cannot hold."""
    convert, missing = _CONVERTERS[feature.kind](feature), (np.nan,) * feature.width
    numbers: list[float] = []
    for index, cell in enumerate(cells):
        try:
            numbers += missing if is_missing(cell) else convert(cell)
        except ValueError as error:
            raise Unfit(str(error), index) from error
    return _array(numbers, feature.width)


def _array(numbers: list[float], width: int) -> Array:
    """Return (rows, width) float32; raise Unfit, with row and position, for a number that becomes infinite."""
    with np.errstate(over="ignore"):
        encoded = np.array(numbers, dtype=np.float64).astype(np.float32).reshape(-1, width)
    infinite = np.isinf(encoded)
    if infinite.any():
        row, position = np.argwhere(infinite)[0].tolist()
        raise Unfit(TOO_LARGE, row, position)
    return encoded


def _refuse(cell: Any) -> tuple[float, ...]:
    seen = "null" if cell is None else "empty"
    raise ValueError(f"is {seen}, and no row that the model learned from lacked it; send a value")


def is_missing(cell: Any) -> bool:
    """Return whether a cell holds no value: None, NaN, or a text of nothing but spaces."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())  # noqa: PLR0124  # NaN


def text_of(cell: Any) -> str:
    """Return the text that stands for a cell in a table of categories.

    Unicode is composed (NFC) and trimmed, so that two ways of writing the same letters are one category; 3 and 3.0 are "3",
    a boolean is "true" or "false". Raises ValueError for an integer of thousands of digits.
    """
    match cell:
        case str():
            return cell.strip() if cell.isascii() else unicodedata.normalize("NFC", cell.strip())
        case bool() | np.bool_():
            return "true" if cell else "false"
        case float() if cell.is_integer():
            return str(int(cell))
        case _:
            return str(cell)


def fold(text: str) -> str:
    """Return a text as booleans are compared: without regard to case."""
    return text_of(text).casefold()


def parse_date(text: str, date_format: str | None) -> tuple[int, float]:
    """Return days since 1970-01-01 and the second of the day; a time with an offset is turned into UTC.

    date_format: of strptime; None: ISO 8601. Raises ValueError for what is no such date.
    """
    try:
        moment = datetime.strptime(text, date_format) if date_format else datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # the year 1 or 9999 can end up beside the calendar in UTC
        raise ValueError(f"{_shown(text)} is no date in {date_format or 'ISO 8601'}") from None
    since = moment - _EPOCH
    return since.days, since.seconds + since.microseconds / 1e6


def _number(_: Feature) -> Convert:
    def convert(cell: Any) -> tuple[float, ...]:
        if isinstance(cell, bool | str | np.bool_):
            raise ValueError(f"expected a number, got {_shown(cell)}")  # noqa: TRY004  # its caller adds the place
        try:
            return (float(cell),)
        except OverflowError:
            raise ValueError(TOO_LARGE) from None

    return convert


def _boolean(feature: Feature) -> Convert:
    off, on = feature.categories or ("false", "true")
    meanings = {fold(off): 0.0, fold(on): 1.0}
    wanted = "true or false" if meanings == _PLAIN else f"{_shown(off)} or {_shown(on)}"
    if not meanings.keys() & _PLAIN.keys():  # JSON's own words, unless one of them is a word of the column, as in true, unknown
        meanings |= _PLAIN
        wanted = f"true or false, {wanted}"

    def convert(cell: Any) -> tuple[float, ...]:
        text = fold(text_of(cell))
        meaning = meanings.get(text)
        if meaning is None and _WHOLE.fullmatch(text):  # 1.0 as a text, which pandas makes of 1 beside missing values
            meaning = meanings.get(text.partition(".")[0])
        if meaning is None:
            raise ValueError(f"expected {wanted}, got {_shown(cell)}")
        return (meaning,)

    return convert


def _category(feature: Feature) -> Convert:
    codes = {text: float(code) for code, text in enumerate(feature.categories, start=1)}
    # A boolean is the text "True" where that is how the data has it, and only once.
    alike = {truth: [text for text in codes if text.casefold() == truth] for truth in _PLAIN}
    truths = {truth: codes[texts[0]] for truth, texts in alike.items() if truth not in codes and len(texts) == 1}

    def convert(cell: Any) -> tuple[float, ...]:
        code = codes.get(cell)  # most cells are written as the table has them
        if code is None:
            text = text_of(cell)
            code = codes.get(text)
            if code is None:
                code = truths.get(text, float(UNSEEN)) if isinstance(cell, bool | np.bool_) else float(UNSEEN)
        return (code,)

    return convert


def _date(feature: Feature) -> Convert:
    def convert(cell: Any) -> tuple[float, ...]:
        if isinstance(cell, str):
            try:
                return parse_date(cell.strip(), feature.date_format)
            except ValueError:  # the answer below says it with an example
                pass
        form = feature.date_format or "ISO 8601"
        raise ValueError(f"expected a date in {form}, such as {_shown(_example(feature))}, got {_shown(cell)}")

    return convert


def _example(feature: Feature) -> str:
    """Return the last day of the train rows, as this column writes it."""
    moment = _EPOCH + timedelta(days=feature.maximum)
    return moment.strftime(feature.date_format) if feature.date_format else moment.date().isoformat()


def _shown(cell: Any) -> str:
    """Return a cell as JSON has it, cut where it is long: a text in quotes, true, 3.5."""
    text = f'"{cell}"' if isinstance(cell, str) else text_of(cell)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


_CONVERTERS: dict[ColumnKind, Callable[[Feature], Convert]] = {
    "number": _number,
    "boolean": _boolean,
    "category": _category,
    "date": _date,
}
