"""A table's cells as the numbers that are stored and served: categories learned from train rows, then every row encoded.

Texts become codes through `serving.columns.encode`, the function that answers requests, called once for each distinct cell.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.table import CHUNK_ROWS, Column, Columns, Table
from pipeline.errors import DataError
from serving.columns import Unfit, encode, is_missing, text_of
from serving.schema import Array, Feature

if TYPE_CHECKING:
    import polars as pl


def learn_categories(
    table: Table, columns: Columns, train: NDArray[np.bool_], *, rare_below: int, most: int
) -> dict[str, tuple[str, ...]]:
    """Return the categories of each category column, sorted; the rest count as unseen.

    train: (rows,) which rows to learn from. Kept are the `most` frequent of those that have at least `rare_below` train rows.
    """
    names = [column.name for column in columns.features if column.kind == "category"]
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for start, chunk in _numbered(table.chunks(names)) if names else ():
        seen = chunk.filter(train[start : start + len(chunk)])
        for name in names:
            for cell, count in seen[name].drop_nulls().value_counts().iter_rows():
                if not is_missing(cell):
                    counts[name][text_of(cell)] += count
    return {name: _kept(found, rare_below, most) for name, found in counts.items()}


def _kept(counts: Counter[str], rare_below: int, most: int) -> tuple[str, ...]:
    frequent = sorted((text for text, count in counts.items() if count >= rare_below), key=lambda text: (-counts[text], text))
    return tuple(sorted(frequent[:most], key=_by_number))


def _by_number(text: str) -> tuple[float, str]:
    """Order numbers as numbers, then texts."""
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


@dataclass(frozen=True)
class Encoder:
    """Turns chunks of a table into encoded rows; remembers the numbers of every distinct cell."""

    features: tuple[Feature, ...]
    table: Table
    _known: dict[str, dict[Any, Any]]

    @classmethod
    def of(cls, table: Table, columns: Sequence[Column], categories: dict[str, tuple[str, ...]]) -> "Encoder":
        """Return the encoder of these columns; ranges are not known yet."""
        features = (column.feature(minimum=0.0, maximum=0.0, categories=categories.get(column.name, ())) for column in columns)
        return cls(tuple(features), table, {column.name: {} for column in columns})

    @property
    def width(self) -> int:
        """Number of values in an encoded row."""
        return sum(feature.width for feature in self.features)

    def chunks(self, extra: Sequence[str] = ()) -> Iterator[tuple[int, Array, "pl.DataFrame"]]:
        """Yield (number of the first row, encoded rows (n, width), the cells) of all rows, in order.

        extra: further columns that the cells hold. Raises DataError for a cell that its column cannot hold.
        """
        names = [feature.name for feature in self.features]
        for start, chunk in _numbered(self.table.chunks([*names, *(name for name in extra if name not in names)])):
            encoded = np.empty((len(chunk), self.width), dtype=np.float32)
            at = 0
            for feature in self.features:
                encoded[:, at : at + feature.width] = self._column(feature, chunk[feature.name], start)
                at += feature.width
            yield start, encoded, chunk

    def _column(self, feature: Feature, cells: "pl.Series", start: int) -> Array:
        """Return (cells, feature.width) numbers of one column."""
        import polars as pl

        if feature.kind == "number":
            # By way of 64 bits, as the numbers of a request go, so that both round alike.
            numbers = cells.cast(pl.Float64).cast(pl.Float32).to_numpy()
            if np.isinf(numbers).any():
                row = int(np.isinf(numbers).argmax())
                raise self._unfit(feature, start + row, f"{cells[row]!r} does not fit into 32 bits")
            return numbers.reshape(-1, 1)
        known = self._known[feature.name]
        distinct = [cell for cell in cells.unique().drop_nulls().to_list() if cell not in known]
        try:
            known.update(zip(distinct, encode(feature, [as_request(cell) for cell in distinct]).tolist(), strict=True))
        except Unfit as error:
            row = cells.to_list().index(distinct[error.index])
            raise self._unfit(feature, start + row, str(error)) from error
        values = np.empty((len(cells), feature.width), dtype=np.float32)
        old = pl.Series(list(known), dtype=cells.dtype)
        for part in range(feature.width):
            new = pl.Series([numbers[part] for numbers in known.values()], dtype=pl.Float32)
            values[:, part] = cells.replace_strict(old, new, default=None, return_dtype=pl.Float32).to_numpy()
        return values

    def _unfit(self, feature: Feature, row: int, why: str) -> DataError:
        return DataError(
            f"data: {self.table.place(row)}: column {feature.name!r}: {why}; "
            f"repair it, or set data.columns.{feature.name} to another kind"
        )


def as_request(cell: Any) -> Any:
    """Return a cell as a client would write it in JSON: dates as ISO 8601."""
    return cell.isoformat() if hasattr(cell, "isoformat") else cell


def _numbered(chunks: Iterator["pl.DataFrame"]) -> Iterator[tuple[int, "pl.DataFrame"]]:
    """Yield each chunk with the number of its first row, cut to size."""
    start = 0
    for chunk in chunks:
        for part in chunk.iter_slices(CHUNK_ROWS):
            yield start, part
            start += len(part)
