"""Rows that were split, encoded and measured."""

import io
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.artifact import Artifact
from pipeline.errors import UserError
from serving.files import sha256_of
from serving.schema import Schema

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Mapped = np.memmap[Any, np.dtype[Any]]


class Prepared(Artifact):
    """Split rows in their raw units, the schema, and statistics of the train rows."""

    kind = "prepared"
    SCHEMA, STATISTICS, REPORT, PAGE = "schema.json", "statistics.json", "report.json", "report.html"
    REQUESTS, PICTURES, FILES = "requests.json", "pictures.json", "files.json"

    @property
    def schema(self) -> Schema:
        """What a row is."""
        return msgspec.json.decode(self.read(self.SCHEMA), type=Schema)

    @property
    def statistics(self) -> dict[str, Any]:
        """Normalization fitted on train rows: {"inputs": {"shift", "scale"}, "target": {…}}."""
        statistics: dict[str, Any] = self.read_json(self.STATISTICS)
        return statistics

    def split(self, split: Split) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return inputs (rows, *shape) float32, raw, and targets (rows,): int64 classes or float32 values."""
        return self._array(f"{split}.inputs.npy"), self._array(f"{split}.targets.npy")

    def open_split(self, split: Split) -> tuple[Mapped, Mapped]:
        """Return what `split` does, memory-mapped and read-only; the files are verified first, in a stream."""
        return self._mapped(f"{split}.inputs.npy"), self._mapped(f"{split}.targets.npy")

    def row_numbers(self, split: Split) -> NDArray[np.int64]:
        """Return where in the source each row of a split was, (rows,), counted from 0."""
        return self._array(f"{split}.rows.npy")

    def files_of(self, split: Split) -> list[str]:
        """Return the picture file of each row of a split, relative to the source; empty where rows were no files."""
        if self.FILES not in self.manifest.makes:
            return []
        files = self.read_json(self.FILES)
        return [files[row] for row in self.row_numbers(split).tolist()]

    @property
    def requests(self) -> list[list[Any]]:
        """Validation rows as a client would send them, messy ones first; `request_rows` numbers them. Of tables alone."""
        found: list[list[Any]] = self.read_json(self.REQUESTS)["values"]
        return found

    @property
    def request_rows(self) -> list[int]:
        """Position of each of `requests` among the validation rows."""
        found: list[int] = self.read_json(self.REQUESTS)["rows"]
        return found

    def split_bytes(self, split: Split) -> int:
        """Return how many bytes of memory a split takes, without reading it."""
        return sum(self._record(f"{split}.{part}.npy").bytes for part in ("inputs", "targets"))

    @property
    def test_reads(self) -> Path:
        """The ledger of these very test rows: one line each time that they were read, by any run of any configuration."""
        rows = self.manifest.makes["test.inputs.npy"].sha256 + self.manifest.makes["test.targets.npy"].sha256
        return self.folder.parent.parent / "test-reads" / f"{sha256_of(rows.encode())[:12]}.jsonl"

    def _array(self, name: str) -> NDArray[Any]:
        return np.asarray(np.load(io.BytesIO(self.read(name)), allow_pickle=False))

    def _mapped(self, name: str) -> Mapped:
        self._prove_once(name)
        mapped: Mapped = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        self._prove_once(name)  # the file that was mapped is the one that was verified
        if not mapped.flags.c_contiguous:
            raise UserError(
                f"{self.folder / name}: stored column by column, which cannot be streamed; set train.in_memory=true"
            )
        return mapped
