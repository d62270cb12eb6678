"""Inputs in the one spelling that they have for the model: what duplicates and groups are told by.

Rows that are written differently and encoded alike, as Zürich in composed and decomposed letters, or a moment with another
offset, are the same row; they must not be torn apart. So numbers, dates and booleans go as they are encoded. Categories are
not known before the split, and go as the texts that they are learned from.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.columns.encode import Encoder

if TYPE_CHECKING:
    import polars as pl


def input_keys(encoder: Encoder, start: int, chunk: "pl.DataFrame", *, near: bool) -> dict[str, NDArray[Any]]:
    """Return the keys of the inputs of rows that the source has from number `start` on.

    hashes: (rows,) of all inputs. With near: numbers, (rows, columns) float32, NaN where missing, and rest, (rows,) a hash of
    all else: dates, booleans, texts without regard to case, and which numbers are missing. Raises DataError for a cell that
    its column cannot hold.
    """
    import polars as pl

    series: list[pl.Series] = []
    numbers, others = [], []
    for feature in encoder.features:
        cells = chunk[feature.name]
        if feature.kind == "category":
            texts = trimmed(cells)
            series.append(texts.alias(str(len(series))))
            # Case alone makes no distinct row of a text, when it comes to what is nearly the same.
            others.append(pl.col(series[-1].name).cast(pl.String).str.to_lowercase())
            continue
        for values in encoder.columns(feature, cells, start):
            series.append(pl.Series(str(len(series)), values))
            if feature.kind == "number":
                numbers.append(values)
            others.append(pl.col(series[-1].name).is_nan() if feature.kind == "number" else pl.col(series[-1].name))
    canonical = pl.DataFrame(series)
    keys: dict[str, NDArray[Any]] = {"hashes": _hashes(canonical, [pl.col(one.name) for one in series])}
    if near:
        keys["numbers"] = np.stack(numbers, axis=1) if numbers else np.empty((len(chunk), 0), dtype=np.float32)
        keys["rest"] = _hashes(canonical, others)
    return keys


def _hashes(frame: "pl.DataFrame", of: "list[pl.Expr]") -> NDArray[np.uint64]:
    import polars as pl

    return frame.select(pl.struct(of).hash()).to_series().to_numpy()


def trimmed(cells: "pl.Series") -> "pl.Series":
    """Return texts trimmed, in composed Unicode, as serving.columns.text_of has them; other cells as they are."""
    import polars as pl

    if cells.dtype != pl.String:
        return cells
    distinct = cells.unique().drop_nulls()
    plain = distinct.str.strip_chars().str.normalize("NFC")
    # Each distinct text is rewritten once; most columns need no rewriting at all.
    return cells if (plain == distinct).all() else cells.replace_strict(distinct, plain, default=None)
