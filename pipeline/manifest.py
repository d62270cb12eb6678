"""What a stage wrote down about its result: `manifest.json`, written last, so that its presence means complete."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import UserError
from serving.errors import first_line
from serving.files import FileRecord, record_of, sha256_of, write_atomic

MANIFEST = "manifest.json"
_PACKAGES = ("slipway", "torch", "numpy", "scikit-learn", "onnx", "onnxruntime")
_INSTEAD = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino")}  # the same module, with other execution providers


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `manifest.json`.

    `takes` maps each input to its digest, `code` is the digest of the sources that the stage runs on, `config` the sections
    that it may read: when all three are what they would be today, the stage has nothing to do.
    """

    stage: str
    takes: dict[str, str]
    makes: dict[str, FileRecord]
    config: dict[str, Any]
    code: str
    seed: int
    device: str
    versions: dict[str, str]
    git: dict[str, Any]
    created: str  # UTC, ISO 8601
    seconds: float
    metrics: dict[str, float]
    notes: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the content that the stage made; times and versions have no part in it."""
        return sha256_of(msgspec.json.encode({name: record.sha256 for name, record in sorted(self.makes.items())}))


def read_manifest(folder: Path) -> Manifest:
    """Read a complete stage's manifest."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: no {MANIFEST}, so nothing complete is here; delete the folder and run the stage again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({first_line(error)}); delete {folder} and run the stage again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder whose files are all written."""
    write_atomic(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))


def records_of(folder: Path) -> dict[str, FileRecord]:
    """Return the record of every file below a folder, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): record_of(path) for path in files}


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {"python": platform.python_version()} | {package: version_of(package) for package in _PACKAGES}


def version_of(package: str) -> str:
    """Return the version of an installed package; of one that stands in its place, with its name."""
    try:
        return version(package)
    except PackageNotFoundError:
        for other in _INSTEAD.get(package, ()):
            try:
                return f"{version(other)} ({other})"
            except PackageNotFoundError:
                continue
        raise


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of the working folder and whether it had uncommitted changes; empty outside a repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):  # no git, or no repository: nothing to record
        return {}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
