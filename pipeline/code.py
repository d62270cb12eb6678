"""Digests of our own sources, so that a result made by other code is not taken for today's."""

from functools import cache
from pathlib import Path

from serving.files import record_of, sha256_of

_ROOT = Path(__file__).resolve().parent.parent


@cache
def code_digest(entries: tuple[str, ...]) -> str:
    """Return a digest of the bytes of files and folders, relative to the repository."""
    files = sorted(file for entry in entries for file in _python_files(_ROOT / entry))
    return sha256_of(repr([(file.relative_to(_ROOT).as_posix(), record_of(file).sha256) for file in files]).encode())


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))
