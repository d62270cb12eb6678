"""Typed handles on finished folders: what one stage makes and another takes.

prepared = Prepared.open(folder)              # refuses a folder without a manifest
inputs, targets = prepared.split("train")     # bytes are checked against the manifest before numpy sees them
inputs, targets = prepared.open_split("train")     # the same, memory-mapped: for rows that memory cannot hold
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.manifest import Manifest, read_manifest
from serving.bundle import Bundle
from serving.files import FileRecord, read_verified, sha256_of, verify
from serving.schema import Schema

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Mapped = np.memmap[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Artifact:
    """A complete folder with its manifest."""

    folder: Path
    manifest: Manifest
    kind: ClassVar[str]
    _proven: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)  # name → _stamp

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a folder that a stage completed."""
        return cls(folder, read_manifest(folder))

    @property
    def digest(self) -> str:
        """Digest of everything in the folder, as recorded."""
        return self.manifest.digest

    def read(self, name: str) -> bytes:
        """Return the verified bytes of one file."""
        return read_verified(self.folder / name, self._record(name))

    def read_json(self, name: str) -> Any:
        """Return the verified content of one JSON file."""
        return json.loads(self.read(name))

    def verify(self) -> None:
        """Raise CorruptFile, naming the file, unless every file is what the stage wrote."""
        for name in self.manifest.makes:
            self._prove(name)

    def _record(self, name: str) -> FileRecord:
        if name not in self.manifest.makes:
            raise UserError(
                f"{self.folder}: the manifest lists no {name}; delete the folder and run `{self.manifest.stage}` again"
            )
        return self.manifest.makes[name]

    def _prove(self, name: str) -> None:
        """Verify one file in a stream, and remember what it was like before: a change that comes later is seen."""
        path, record = self.folder / name, self._record(name)
        stamp = _stamp(path)
        verify(path, record)
        self._proven[name] = stamp

    def _prove_once(self, name: str) -> None:
        """Verify one file, unless this object did and nobody has touched the file since: hashing 100 GB takes minutes."""
        if name not in self._proven or self._proven[name] != _stamp(self.folder / name):
            self._prove(name)


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


class Model(Artifact):
    """A trained network: weights and architecture of the best epoch, the last state, and the history."""

    kind = "model"
    BEST, LAST, HISTORY, SOURCE = "best.pt", "last.pt", "history.jsonl", "custom_model.py"


class Evaluation(Artifact):
    """Metrics with intervals and figures for one model on one split."""

    kind = "evaluation"
    METRICS = "metrics.json"


class Exported(Artifact):
    """Proven artifacts of a model, and the bundle to serve."""

    kind = "exported"
    PARITY = "parity.json"

    @property
    def bundle(self) -> Path:
        """The deployable folder."""
        return self.folder / "bundle"

    def open_bundle(self) -> Bundle:
        """Open the bundle, verified."""
        return Bundle(self.bundle)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to; nothing, where there is no file."""
    if not path.is_file():
        return ()
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
