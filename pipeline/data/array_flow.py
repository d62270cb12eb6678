"""Rows that are arrays already, such as pictures, on their way to disk."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Prepared
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.columns.keys import Keys
from pipeline.data.flow import About
from pipeline.data.row_files import SplitFiles
from pipeline.data.splitting.duplicates import MOST_ROWS, thumbnails
from pipeline.data.statistics import Moments, fit_array
from pipeline.data.table import Arrays, Tell
from pipeline.errors import UserError
from serving.files import write_atomic
from serving.schema import Schema

_TRAIN, _VALIDATION = SPLITS.index("train"), SPLITS.index("validation")
_CHUNK_BYTES = 16 * 1024 * 1024
_ORIGINALS = 8  # picture files that travel to the bundle's golden requests
_LARGEST_ORIGINAL, _LARGEST_ORIGINALS = 1_000_000, 4_000_000  # bytes of one, and of all: a service reads them when it starts


class ArrayFlow:
    """Rows without columns."""

    def __init__(self, arrays: Arrays, section: PrepareConfig) -> None:
        """Raise UserError for settings that only tables know."""
        if section.normalize in {"robust", "quantile"}:
            raise UserError(f"prepare.normalize: {section.normalize} is for the columns of tables; choose standard or minmax")
        if section.split_column is not None:
            raise UserError(f"prepare.split_column: {section.split_column!r}: {arrays.origin} has no columns")
        self._arrays, self._section = arrays, section
        self.about = About(arrays.origin, len(arrays.inputs), arrays.task, arrays.classes, arrays.place, arrays.findings, {})

    def keys(self, tell: Tell) -> Keys:
        """Return what the split goes by; one pass."""
        arrays = self._arrays
        near = len(arrays.inputs) <= MOST_ROWS and self._section.near_duplicates > 0
        hashes = np.empty(len(arrays.inputs), dtype=np.uint64)
        low, high = (0.0, 255.0) if arrays.picture else (float(arrays.inputs.min()), float(arrays.inputs.max()))
        small: list[NDArray[np.float32]] = []
        for start, rows in self._chunks():
            for offset, row in enumerate(rows):
                digest = hashlib.blake2b(row.tobytes(), digest_size=8).digest()
                hashes[start + offset] = int.from_bytes(digest, "little")
            if near:
                small.append(thumbnails(rows, low=low, high=high))
            tell(start + len(rows), len(hashes))
        rest = np.zeros(len(hashes), dtype=np.uint64) if near else None
        numbers = np.concatenate(small) if near else None
        usable = np.ones(len(hashes), dtype=np.bool_)
        return Keys(hashes, numbers, rest, arrays.targets, usable, given=arrays.given)

    def write(self, assignment: NDArray[np.int8], out: Path, tell: Tell) -> tuple[Schema, dict[str, Any]]:
        """Write all rows raw, and measure the train rows; one pass."""
        arrays = self._arrays
        shape = arrays.inputs.shape[1:]
        moments = Moments(shape)
        with SplitFiles(out, assignment, shape) as files:
            for start, rows in self._chunks():
                files.write(start, rows)
                moments.add(rows[assignment[start : start + len(rows)] == _TRAIN])
                tell(start + len(rows), len(assignment))
        if arrays.original is not None:
            write_atomic(out / Prepared.PICTURES, msgspec.json.encode(self._originals(assignment)))
            names = [arrays.place(row) for row in range(len(assignment))]
            write_atomic(out / Prepared.FILES, msgspec.json.encode(names))
        schema = Schema(
            task=arrays.task,
            kind="image",
            shape=shape,
            target=arrays.target,
            minimum=float(moments.minimum.min()),
            maximum=float(moments.maximum.max()),
            classes=arrays.classes,
            targets=arrays.targets_names,
            picture=arrays.picture,
        )
        return schema, fit_array(self._section.normalize, moments, per_channel=len(shape) > 1)

    def _chunks(self) -> Any:
        """Yield (number of the first row, rows (n, *shape) float32)."""
        inputs = self._arrays.inputs
        step = max(1, _CHUNK_BYTES // max(1, int(np.prod(inputs.shape[1:])) * 4))
        for start in range(0, len(inputs), step):
            yield start, np.ascontiguousarray(inputs[start : start + step], dtype=np.float32)

    def _originals(self, assignment: NDArray[np.int8]) -> dict[str, list[Any]]:
        """Return the files of a few validation pictures that are not large, and their positions among the validation rows."""
        assert self._arrays.original is not None
        numbers = np.flatnonzero(assignment == _VALIDATION)
        positions = np.unique(np.linspace(0, len(numbers) - 1, min(_ORIGINALS, len(numbers))).astype(int)).tolist()
        kept: dict[int, bytes] = {}
        for position in positions:
            file = self._arrays.original(int(numbers[position]))
            if len(file) <= _LARGEST_ORIGINAL and sum(map(len, kept.values())) + len(file) <= _LARGEST_ORIGINALS:
                kept[position] = file
        return {
            "rows": list(kept),
            "pictures": [base64.b64encode(file).decode() for file in kept.values()],
        }
