"""Digests of our own sources, so that a result made by other code is not taken for today's."""

import ast
from functools import cache
from pathlib import Path

from serving.files import sha256_of

_ROOT = Path(__file__).resolve().parent.parent


@cache
def code_digest(entries: tuple[str, ...]) -> str:
    """Return a digest of files and folders, relative to the repository; comments and layout have no part in it."""
    files = sorted(file for entry in entries for file in _python_files(_ROOT / entry))
    trees = [f"{file.relative_to(_ROOT)}\n{ast.dump(ast.parse(file.read_bytes()))}" for file in files]
    return sha256_of("\n".join(trees).encode())


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))
