"""Typed handles on finished folders: what one stage makes and another takes.

prepared = Prepared.open(folder)              # refuses a folder without a manifest
inputs, targets = prepared.split("train")     # bytes are checked against the manifest before numpy sees them
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.manifest import Manifest, read_manifest
from serving.bundle import Bundle
from serving.files import read_verified, sha256_of, verify
from serving.schema import Schema

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Artifact:
    """A complete folder with its manifest."""

    folder: Path
    manifest: Manifest
    kind: ClassVar[str]

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
        if name not in self.manifest.makes:
            raise UserError(
                f"{self.folder}: the manifest lists no {name}; delete the folder and run `{self.manifest.stage}` again"
            )
        return read_verified(self.folder / name, self.manifest.makes[name])

    def read_json(self, name: str) -> Any:
        """Return the verified content of one JSON file."""
        return json.loads(self.read(name))

    def verify(self) -> None:
        """Raise CorruptFile, naming the file, unless every file is what the stage wrote."""
        for name, record in self.manifest.makes.items():
            verify(self.folder / name, record)


class Prepared(Artifact):
    """Split rows in their raw units, the schema, and statistics of the train rows."""

    kind = "prepared"
    SCHEMA, STATISTICS = "schema.json", "statistics.json"

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

    @property
    def test_reads(self) -> Path:
        """The ledger of these very test rows: one line each time that they were read, by any run of any configuration."""
        rows = self.manifest.makes["test.inputs.npy"].sha256 + self.manifest.makes["test.targets.npy"].sha256
        return self.folder.parent.parent / "test-reads" / f"{sha256_of(rows.encode())[:12]}.jsonl"

    def _array(self, name: str) -> NDArray[Any]:
        return np.asarray(np.load(io.BytesIO(self.read(name)), allow_pickle=False))


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
