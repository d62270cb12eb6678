"""Bytes on disk that can be trusted: atomic writes, and reads that check a digest before any parser sees the content.

    record = write_atomic(folder / "best.pt", payload)      # FileRecord(sha256=…, bytes=…)
    payload = read_verified(folder / "best.pt", record)     # raises CorruptFile on a single flipped bit

A flipped bit loads without an error in most model formats, so the digest is the only guard (docs/decisions.md).
"""

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from serving.errors import CorruptFile


class FileRecord(msgspec.Struct, frozen=True):
    """Digest and size of one file, as manifests and bundles write them down."""

    sha256: str
    bytes: int


def sha256_of(payload: bytes) -> str:
    """Return the sha256 of `payload` as 64 hexadecimal digits."""
    return hashlib.sha256(payload).hexdigest()


def record_of(path: Path) -> FileRecord:
    """Read a file in a stream, so that its size does not matter, and return its record."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(sha256=digest, bytes=file.tell())


def read_verified(path: Path, record: FileRecord) -> bytes:
    """Return a file's bytes; raise CorruptFile when they are not the recorded ones.

    The bytes that were hashed are the bytes that are returned: a file swapped in between cannot slip through.
    """
    if not path.is_file():
        raise CorruptFile(path, recorded=record.sha256, found="no file")
    payload = path.read_bytes()
    found = sha256_of(payload)
    if found != record.sha256:
        raise CorruptFile(path, recorded=record.sha256, found=found)
    return payload


def verify(path: Path, record: FileRecord) -> None:
    """Raise CorruptFile when a file is missing or is not the recorded one; reads in a stream."""
    found = record_of(path).sha256 if path.is_file() else "no file"
    if found != record.sha256:
        raise CorruptFile(path, recorded=record.sha256, found=found)


def write_atomic(path: Path, payload: bytes) -> FileRecord:
    """Write a file so that a reader, or a power cut, sees the old content or the new one and nothing in between."""
    try:
        return _write_atomic(path, payload)
    except OSError as error:
        # A full disk is reported without a file name; a user needs one.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_atomic(path: Path, payload: bytes) -> FileRecord:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return FileRecord(sha256=sha256_of(payload), bytes=len(payload))


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk: without it a rename can be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
