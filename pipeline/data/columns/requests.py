"""Validation rows as a client would send them: what export proves the encoding with, and the bundle's golden requests."""

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS
from pipeline.data.columns.encode import as_request
from serving.schema import Array, Feature, starts_of

if TYPE_CHECKING:
    import polars as pl

_EACH = 64  # messy rows kept, and rows spread over the split
_VALIDATION = SPLITS.index("validation")


class Requests:
    """Collects the messiest validation rows, and others evenly spread, while all rows pass by."""

    def __init__(self, features: Sequence[Feature], assignment: NDArray[np.int8]) -> None:
        """Begin with no row. assignment: (rows,) index into SPLITS."""
        self._names = [feature.name for feature in features]
        located = zip(features, starts_of(features), strict=True)
        self._codes = [start for feature, start in located if feature.kind == "category"]
        self._assignment = assignment
        self._every = max(1, int((assignment == _VALIDATION).sum()) // _EACH)
        self._seen = 0
        self._spread: dict[int, list[Any]] = {}
        self._messy: list[tuple[int, int, list[Any]]] = []  # a heap: the least messy first

    def add(self, start: int, encoded: Array, cells: "pl.DataFrame") -> None:
        """Look at the validation rows among those that the source has from number `start` on.

        encoded: (validation rows, values) as they are stored. cells: of all rows, as they came.
        """
        chosen = np.flatnonzero(self._assignment[start : start + len(cells)] == _VALIDATION)
        cells = cells.select(self._names)
        # Missing values and unseen categories make a row messy; so do letters beyond ASCII, which JSON may escape.
        mess = np.isnan(encoded).sum(axis=1) + 2 * (encoded[:, self._codes] == 0).sum(axis=1)
        for offset in np.flatnonzero((np.arange(self._seen, self._seen + len(chosen)) % self._every) == 0).tolist():
            self._spread[self._seen + offset] = self._request(cells.row(int(chosen[offset])))
        least = self._messy[0][0] if len(self._messy) == _EACH else 0
        for offset in np.flatnonzero(mess > least).tolist():
            untidy = int(mess[offset])
            if len(self._messy) < _EACH or untidy > self._messy[0][0]:
                entry = (untidy, -(self._seen + offset), self._request(cells.row(int(chosen[offset]))))
                (heapq.heappush if len(self._messy) < _EACH else heapq.heappushpop)(self._messy, entry)
        self._seen += len(chosen)

    def collected(self) -> dict[str, list[Any]]:
        """Return {"rows": positions among the validation rows, "values": their cells}, the messiest first."""
        messy = {-position: cells for _, position, cells in sorted(self._messy, key=lambda entry: (-entry[0], -entry[1]))}
        found = messy | {position: cells for position, cells in self._spread.items() if position not in messy}
        return {"rows": list(found), "values": list(found.values())}

    def _request(self, cells: Sequence[Any]) -> list[Any]:
        return [as_request(cell) for cell in cells]
