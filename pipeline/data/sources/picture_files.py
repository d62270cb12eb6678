"""Which pictures a folder has, and the label of each: its class folder's name, or its line in a file of labels."""

import csv
import io
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.data_sections import ImagesData
from pipeline.data.findings import Finding, some
from pipeline.data.sources import existing
from pipeline.errors import DataError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
_NAMED = 5  # files that a line names
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Below:
    """What is below a folder, as paths relative to it with slashes, sorted; hidden files and folders are left out."""

    pictures: list[str]
    others: list[str]  # by their names no pictures
    folders: list[str]  # directly below, with or without pictures


@dataclass(frozen=True)
class Listed:
    """Pictures that have labels, sorted by path."""

    paths: list[str]
    labels: list[str]
    target: str
    findings: tuple[Finding, ...]


def list_pictures(section: ImagesData) -> Listed:
    """Return the pictures of a folder with their labels. Raises DataError where there are none, or labels cannot be read."""
    root = Path(section.path)
    if not root.is_dir():
        seen = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data.path: {section.path!r} {seen}; name a folder of pictures, relative to the folder of the command")
    below = pictures_below(root)
    if not below.pictures:
        raise DataError(
            f"data.path: {section.path!r} holds no pictures ({', '.join(_SUFFIXES)}); "
            + (f"it has {len(below.others):,} other file(s), such as {below.others[0]}" if below.others else "it has no files")
        )
    return _by_folder(below, section) if section.labels is None else _by_file(below, section, section.labels)


def pictures_below(root: Path) -> Below:
    """Return what is below a folder, links followed."""
    pictures: list[str] = []
    others: list[str] = []
    for path in _files_below(root):
        (pictures if path.lower().endswith(_SUFFIXES) else others).append(path)
    folders = [entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return Below(sorted(pictures), sorted(others), sorted(folders))


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


def _by_folder(below: Below, section: ImagesData) -> Listed:
    paths = [path for path in below.pictures if "/" in path]
    labels = [path.split("/", 1)[0] for path in paths]
    classes = sorted(set(labels))
    if len(classes) < 2:
        seen = f"one folder with pictures, {classes[0]!r}" if classes else f"{len(below.pictures):,} picture(s) and no folders"
        raise DataError(
            f"data.path: {section.path!r} has {seen}; make a folder for each class, or give data.labels a file of labels"
        )
    findings = [*_left_out(below)]
    if loose := [path for path in below.pictures if "/" not in path]:
        text = f"{len(loose):,} picture(s) of {section.path} lie beside the class folders and are left out: {named(loose)}"
        findings.append(_warning("loose_pictures", text, "move each into the folder of its class"))
    if empty := [name for name in below.folders if name not in classes]:
        text = f"{len(empty)} folder(s) of {section.path} hold no picture and are no class: {named(empty)}"
        findings.append(_warning("empty_class", text, "fill or delete them"))
    if {name.lower() for name in classes} <= _SPLITS:
        text = (
            f"the folders of {section.path} are called {named(classes)}: by their names splits, but they are taken as classes"
        )
        findings.append(_warning("split_folders", text, "set data.path to the one that has a folder for each class"))
    return Listed(paths, labels, section.target, tuple(findings))


def _by_file(below: Below, section: ImagesData, labels: str) -> Listed:
    header, rows = _read_csv(existing(labels, "data.labels"), labels)
    known = set(below.pictures)
    name_at = _column_of_names(header, rows, known, labels)
    label_at = _column_of_labels(header, name_at, section, labels)
    pairs = [(posixpath.normpath(row[name_at].strip().replace("\\", "/")), row[label_at].strip()) for _, row in rows]
    lines = [line for line, _ in rows]
    _check_pairs(pairs, lines, labels)
    label_of = dict(pairs)
    paths = sorted(known & label_of.keys())
    if not paths:
        raise DataError(
            f"data.labels: none of the {len(pairs):,} files that {labels} lists is below {section.path!r}: {pairs[0][0]}, …"
        )
    findings = [*_left_out(below)]
    if missing := sorted(label_of.keys() - known):
        text = f"{len(missing):,} picture(s) that {labels} lists are not below {section.path}: {named(missing)}"
        findings.append(
            Finding(
                check="broken_images", verdict="FAIL", text=text, advice="restore them, or set prepare.allow=[broken_images]"
            )
        )
    if unlisted := sorted(known - label_of.keys()):
        text = f"{len(unlisted):,} picture(s) of {section.path} are not in {labels} and are left out: {named(unlisted)}"
        findings.append(_warning("unlisted_pictures", text, "list them, if they have labels"))
    return Listed(paths, [label_of[path] for path in paths], header[label_at], tuple(findings))


Rows = list[tuple[int, list[str]]]  # number of the line, cells


def _read_csv(path: Path, labels: str) -> tuple[list[str], Rows]:
    """Return the header and the rows of a file of labels, whose delimiter is the one that its header has most of."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"data.labels: {labels} is no UTF-8 text: byte {error.start:,} is {error.object[error.start]:#04x}"
        ) from error
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count))
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"data.labels: {labels}: line {reader.line_num}: {error}") from error
    if len(rows) < 2:
        raise DataError(f"data.labels: {labels} has no rows below a header; give it columns of file names and labels")
    (_, header), *body = rows
    ragged = [line for line, row in body if len(row) != len(header)]
    if ragged:
        raise DataError(
            f"data.labels: {labels} has a header of {len(header)} columns, and not as many in line(s) {some(ragged)}"
        )
    return [name.strip() for name in header], body


def _column_of_names(header: list[str], rows: Rows, known: set[str], labels: str) -> int:
    """Return the column that names pictures: most of its cells are files that are there, or look like some."""
    scores = [
        sum((row[at].strip() in known) + row[at].strip().lower().endswith(_SUFFIXES) for _, row in rows)
        for at in range(len(header))
    ]
    best = max(range(len(header)), key=scores.__getitem__)
    if scores[best] == 0:
        raise DataError(
            f"data.labels: no column of {labels} names pictures, such as {min(known)}; its columns are: {', '.join(header)}"
        )
    return best


def _column_of_labels(header: list[str], name_at: int, section: ImagesData, labels: str) -> int:
    others = [at for at in range(len(header)) if at != name_at]
    chosen = [at for at in others if header[at] == section.target]
    is_default = section.target == ImagesData.model_fields["target"].default
    if not chosen and len(others) == 1 and is_default:
        chosen = others
    if len(chosen) != 1:
        listed = ", ".join(header[at] for at in others) or "none"
        raise DataError(
            f"data.target: {labels} has no single column {section.target!r} beside {header[name_at]!r}; its other "
            f"columns are: {listed}"
        )
    return chosen[0]


def _check_pairs(pairs: list[tuple[str, str]], lines: list[int], labels: str) -> None:
    """Raise DataError for files without a label, and for those that are listed twice."""
    faults = []
    if empty := [line for line, (_, label) in zip(lines, pairs, strict=True) if not label]:
        faults.append(f"data.labels: {labels} has no label in line(s) {some(empty)}; fill or delete them")
    counts = Counter(path for path, _ in pairs)
    if twice := [path for path, count in counts.items() if count > 1]:
        where = [line for line, (path, _) in zip(lines, pairs, strict=True) if path == twice[0]]
        faults.append(
            f"data.labels: {labels} lists {len(twice):,} file(s) more than once: {named(twice)} (the first in lines "
            f"{some(where)}); keep one line for each"
        )
    if faults:
        raise DataError(*faults)


def _left_out(below: Below) -> Iterator[Finding]:
    if below.others:
        text = f"{len(below.others):,} file(s) are no pictures by their names and are left out: {named(below.others)}"
        yield _warning("other_files", text, f"pictures end in {', '.join(_SUFFIXES)}")


def _warning(check: str, text: str, advice: str) -> Finding:
    return Finding(check=check, verdict="WARN", text=text, advice=advice)
