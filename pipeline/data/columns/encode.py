"""A table's cells as the numbers that are stored and served: categories learned from train rows, then every row encoded.

Texts become codes through `serving.columns.encode`, the function that answers requests, called once for each distinct cell.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.data.in_order import in_order
from pipeline.data.table import Column, Columns, Table
from pipeline.errors import DataError
from serving.columns import Unfit, encode, is_missing, text_of
from serving.schema import Array, Feature

if TYPE_CHECKING:
    import polars as pl

_BLOCK_ROWS = 4_096  # whose encoded values a core's cache holds while column after column is written
_REMEMBERED = 100_000  # distinct cells; where there are more, such as moments in time, most are met once


def learn_categories(
    table: Table, columns: Columns, train: NDArray[np.bool_], *, rare_below: int, most: int
) -> dict[str, tuple[str, ...]]:
    """Return the categories of each category column, sorted; the rest count as unseen.

    train: (rows,) which rows to learn from. Kept are the `most` frequent of those that have at least `rare_below` train rows.
    """
    names = [column.name for column in columns.features if column.kind == "category"]
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}

    def counted(numbered: "tuple[int, pl.DataFrame]") -> "dict[str, pl.DataFrame]":
        start, chunk = numbered
        seen = chunk.filter(train[start : start + len(chunk)])
        return {name: seen[name].drop_nulls().alias("cell").value_counts() for name in names}

    for found in in_order(counted, table.chunks(names)) if names else ():
        for name, cells in found.items():
            for cell, count in cells.iter_rows():
                if not is_missing(cell):
                    counts[name][text_of(as_request(cell))] += count
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
class _Known:
    """The numbers of the distinct cells of one column that were met so far; replaced as a whole, so that threads agree.

    cells: those that are not missing. numbers: (cells + 1, feature.width) float32, the last ones of a missing cell.
    """

    cells: "pl.Series | None"
    numbers: Array

    def places(self, cells: "pl.Series") -> "pl.Series":
        """Return where in `numbers` each cell's are; null where that is not known."""
        import polars as pl

        if self.cells is None:
            return pl.Series([None], dtype=pl.UInt32).new_from_index(0, len(cells))
        if cells.dtype == pl.String:  # twice as fast as replacing
            return cells.cast(pl.Enum(self.cells), strict=False).to_physical().cast(pl.UInt32)
        places = pl.Series(range(len(self.cells)), dtype=pl.UInt32)
        return cells.replace_strict(self.cells, places, default=None, return_dtype=pl.UInt32)


def _none_known(feature: Feature) -> _Known:
    return _Known(None, np.full((1, feature.width), np.nan, dtype=np.float32))


@dataclass(frozen=True)
class Encoder:
    """Turns chunks of a table into encoded rows; remembers the numbers of every distinct cell. Threads may share it."""

    features: tuple[Feature, ...]
    table: Table
    _known: dict[str, _Known]
    _learning: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, table: Table, columns: Sequence[Column]) -> "Encoder":
        """Return the encoder of these columns; neither ranges nor the categories of texts are known yet."""
        features = tuple(column.feature(minimum=0.0, maximum=0.0) for column in columns)
        return cls(features, table, {feature.name: _none_known(feature) for feature in features})

    def learned(self, categories: dict[str, tuple[str, ...]]) -> "Encoder":
        """Return an encoder that knows the categories of each category column; what it knew of other columns stays."""
        features = tuple(
            msgspec.structs.replace(feature, categories=categories[feature.name]) if feature.kind == "category" else feature
            for feature in self.features
        )
        known = {
            feature.name: _none_known(feature) if feature.kind == "category" else self._known[feature.name]
            for feature in features
        }
        return Encoder(features, self.table, known)

    @property
    def width(self) -> int:
        """Number of values in an encoded row."""
        return sum(feature.width for feature in self.features)

    def encode(self, start: int, cells: "pl.DataFrame") -> Array:
        """Return (cells, width) of rows that the source has from number `start` on.

        Raises DataError for a cell that its column cannot hold.
        """
        columns = [column for feature in self.features for column in self.columns(feature, cells[feature.name], start)]
        encoded = np.empty((len(cells), self.width), dtype=np.float32)
        for first in range(0, len(cells), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            for at, column in enumerate(columns):
                encoded[block, at] = column[block]
        return encoded

    def columns(self, feature: Feature, cells: "pl.Series", start: int) -> list[Array]:
        """Return the feature.width numbers of each cell of one column, (cells,) each.

        Raises DataError for a cell that the column cannot hold.
        """
        import polars as pl

        if feature.kind == "number":
            # By way of 64 bits, as the numbers of a request go, so that both round alike.
            numbers = cells.cast(pl.Float64).cast(pl.Float32).to_numpy()
            if np.isinf(numbers).any():
                row = int(np.isinf(numbers).argmax())
                raise self._unfit(feature, start + row, f"{cells[row]!r} does not fit into 32 bits")
            return [numbers]
        known = self._known[feature.name]
        places = known.places(cells)
        if places.null_count() > cells.null_count():
            known = self._learn(feature, cells, start)
            places = known.places(cells)
        at = places.fill_null(len(known.numbers) - 1).to_numpy()
        return [np.take(part, at) for part in known.numbers.T.copy()]

    def _learn(self, feature: Feature, cells: "pl.Series", start: int) -> _Known:
        """Find the numbers of the cells that were not met before."""
        import polars as pl

        with self._learning:
            known = self._known[feature.name]
            if known.cells is None or len(known.cells) > _REMEMBERED:
                known = _Known(cells.head(0), known.numbers[-1:])
            assert known.cells is not None
            distinct = cells.unique(maintain_order=True).drop_nulls()  # of several faults the first one is told
            new = distinct.filter(~distinct.is_in(known.cells.implode()))
            asked = [as_request(cell) for cell in new.to_list()]
            try:
                numbers = encode(feature, asked)
            except Unfit as error:
                row = cells.index_of(new[error.index])
                raise self._unfit(feature, start + int(row or 0), str(error)) from error
            known = _Known(pl.concat([known.cells, new]), np.concatenate((known.numbers[:-1], numbers, known.numbers[-1:])))
            self._known[feature.name] = known
            return known

    def _unfit(self, feature: Feature, row: int, why: str) -> DataError:
        return DataError(
            f"data: {self.table.place(row)}: column {feature.name!r}: {why}; "
            f"repair it, or set data.columns.{feature.name} to another kind"
        )


def as_request(cell: Any) -> Any:
    """Return a cell as a client would write it in JSON: dates as ISO 8601."""
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
