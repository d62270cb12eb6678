"""Cells in the one spelling that they have for the model: what duplicates and groups are told by.

Rows that are written differently and encoded alike, as Zürich in composed and decomposed letters, or a moment with another
offset, are the same row; they must not be torn apart.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.table import Column
from serving.columns import encode

if TYPE_CHECKING:
    import polars as pl

_DAY_S = 86_400


class Canonical:
    """Rewrites chunks of a table; remembers what it has made of every date."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """columns: the features, in the order that they are to have."""
        self._columns = columns
        self._seconds: dict[str, dict[str, float]] = {column.name: {} for column in columns if column.kind == "date"}

    def cells(self, chunk: "pl.DataFrame") -> "pl.DataFrame":
        """Return the features alone: numbers of 32 bits, texts trimmed and composed, dates as seconds."""
        import polars as pl

        made = []
        for column in self._columns:
            cells = chunk[column.name]
            if column.kind == "number":
                made.append(cells.cast(pl.Float64).cast(pl.Float32))
            elif column.kind == "date" and cells.dtype == pl.String:
                made.append(self._dates(column, cells))
            elif column.kind == "boolean":
                made.append(_rewritten(cells.cast(pl.String), lambda texts: _plain(texts).str.to_lowercase()))
            else:
                made.append(trimmed(cells))
        return pl.DataFrame(made)

    def _dates(self, column: Column, cells: "pl.Series") -> "pl.Series":
        import polars as pl

        known = self._seconds[column.name]
        distinct = cells.unique().drop_nulls().to_list()
        new = [cell for cell in distinct if cell not in known]
        numbers: NDArray[Any] = encode(column.feature(minimum=0, maximum=0), new).astype(np.float64)
        known.update(zip(new, (numbers[:, 0] * _DAY_S + numbers[:, 1]).tolist(), strict=True))
        return cells.replace_strict(distinct, [known[cell] for cell in distinct], default=None, return_dtype=pl.Float64)


def trimmed(cells: "pl.Series") -> "pl.Series":
    """Return texts trimmed, in composed Unicode, as serving.columns.text_of has them; other cells as they are."""
    import polars as pl

    return _rewritten(cells, _plain) if cells.dtype == pl.String else cells


def _plain(texts: "pl.Series") -> "pl.Series":
    return texts.str.strip_chars().str.normalize("NFC")


def _rewritten(cells: "pl.Series", rewrite: "Callable[[pl.Series], pl.Series]") -> "pl.Series":
    """Return texts rewritten, each distinct one once; most columns need no rewriting at all."""
    distinct = cells.unique().drop_nulls()
    new = rewrite(distinct)
    return cells if (new == distinct).all() else cells.replace_strict(distinct, new, default=None)
