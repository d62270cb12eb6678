"""Files outside the repository that stages read, by their content: a changed CSV is other data, whatever its name.

The digest of a file is remembered with its size, time and inode, so that gigabytes are not hashed for every command.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.artifacts import Model
from pipeline.config import Config
from pipeline.config.data_sections import BuiltinData
from pipeline.config.model_sections import CustomConfig
from pipeline.manifest import MANIFEST, read_manifest
from serving.files import record_of, sha256_of, write_atomic

ABSENT = "no file"
_REMEMBERED = Path("data", "digests.json")
_LARGE_BYTES = 1024 * 1024  # a smaller file is hashed faster than it is looked up


def model_files(config: Config) -> dict[str, str]:
    """Return the digest of each file that training reads, by the key that names it."""
    if not isinstance(config.model, CustomConfig):
        return {}
    file = Path(config.model.file)
    return {"model.file": record_of(file).sha256 if file.is_file() else ABSENT}


def student_files(config: Config, root: Path) -> dict[str, str]:
    """Return the digests of what `distill` reads outside of its run: a custom student's file, and another run's teacher."""
    found: dict[str, str] = {}
    if isinstance(config.distill.student, CustomConfig):
        file = Path(config.distill.student.file)
        found["distill.student.file"] = record_of(file).sha256 if file.is_file() else ABSENT
    if config.distill.teacher is not None:
        manifest = root / config.distill.teacher / Model.variant / MANIFEST
        found["distill.teacher"] = read_manifest(manifest.parent).digest if manifest.is_file() else ABSENT
    return found


def data_files(config: Config) -> dict[str, str]:
    """Return one digest of all files that `prepare` reads; nothing for data that ships with scikit-learn."""
    if isinstance(config.data, BuiltinData):
        return {}
    from pipeline.data.sources import files_of

    return {"data": _digest(files_of(config.data))}


def _digest(files: Sequence[Path]) -> str:
    from pipeline.data.sources.picture_folders import check_name

    for file in files:
        check_name(str(file), below=Path.cwd())
    known = _recall()
    found: dict[str, list[Any]] = {}
    digests = []
    for file in files:
        if not file.is_file():
            digests.append(f"{file}: {ABSENT}")
            continue
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        name = str(file.absolute())
        seen, digest = known.get(name, [None, ""])
        if seen != stamp:
            digest = record_of(file).sha256
        if stat.st_size >= _LARGE_BYTES or len(files) > 1:
            found[name] = [stamp, digest]
        digests.append(f"{file}: {digest}")
    if any(known.get(name) != entry for name, entry in found.items()):
        _REMEMBERED.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(_REMEMBERED, msgspec.json.encode(known | found))
    return sha256_of("\n".join(digests).encode())


def _recall() -> dict[str, list[Any]]:
    """Return what is remembered; nothing where the file is damaged, since it can be made anew."""
    try:
        known: dict[str, list[Any]] = msgspec.json.decode(_REMEMBERED.read_bytes(), type=dict[str, list[Any]])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    return known
