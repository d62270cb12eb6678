"""What is below a folder of pictures, by names alone."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_NAMED = 5  # files that a line names


@dataclass(frozen=True)
class Below:
    """What is below a folder, as paths relative to it with slashes, sorted; hidden files and folders are left out."""

    pictures: list[str]
    others: list[str]  # by their names no pictures
    folders: list[str]  # directly below, with or without pictures

    @property
    def classes(self) -> list[str]:
        """Folders that hold pictures, at any depth."""
        return sorted({path.split("/", 1)[0] for path in self.pictures if "/" in path})

    @property
    def are_splits(self) -> bool:
        """Whether all of those folders are called as splits are, such as train and test."""
        return {name.lower() for name in self.classes} <= _SPLITS


def pictures_below(root: Path) -> Below:
    """Return what is below a folder, links followed. Raises DataError for a name that is no UTF-8."""
    pictures: list[str] = []
    others: list[str] = []
    for path in _files_below(root):
        (pictures if path.lower().endswith(SUFFIXES) else others).append(path)
    folders = [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    for path in pictures + others + folders:
        check_name(path, below=root)
    return Below(sorted(pictures), sorted(others), sorted(folders))


def check_name(path: str, *, below: Path) -> None:
    """Raise DataError for a name of bytes that are no UTF-8: it can stand in no report and no answer."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"data: {path!r} below {str(below)!r} has a name that is no UTF-8 text; rename it") from None


def named(paths: Sequence[str]) -> str:
    """Return the first paths of a list as text, and how many more there are."""
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def _files_below(root: Path) -> Iterator[str]:
    visited: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        visited.add(os.path.realpath(folder))
        # A link to a folder above would never end.
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(folder, name)) not in visited
        ]
        for name in files:
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()
