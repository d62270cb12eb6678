"""A finished folder whose files are verified before anything reads them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.errors import UserError
from pipeline.manifest import Manifest, read_manifest
from serving.files import FileRecord, read_verified, verify


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


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to; nothing, where there is no file."""
    if not path.is_file():
        return ()
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
