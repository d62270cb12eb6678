"""Which pictures a folder has, and the label of each: its class folder's name, or its line in a file of labels."""

import csv
import io
import math
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.data_sections import MISSING_WORDS, ImagesData
from pipeline.data.findings import Finding, some
from pipeline.data.sources import existing
from pipeline.data.sources.picture_folders import SUFFIXES, Below, named, pictures_below
from pipeline.errors import DataError

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Listed:
    """Pictures that have labels, sorted by path."""

    paths: list[str]
    labels: list[str]
    target: str
    lines: list[int]  # of the file of labels; none where folders are classes
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
            f"data.path: {section.path!r} holds no pictures ({', '.join(SUFFIXES)}); "
            + (f"it has {len(below.others):,} other file(s), such as {below.others[0]}" if below.others else "it has no files")
        )
    return _by_folder(below, section) if section.labels is None else _by_file(below, section, section.labels)


def _by_folder(below: Below, section: ImagesData) -> Listed:
    paths = [path for path in below.pictures if "/" in path]
    labels = [path.split("/", 1)[0] for path in paths]
    classes = below.classes
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
    if below.are_splits:
        text = (
            f"the folders of {section.path} are called {named(classes)}: by their names splits, but they are taken as classes"
        )
        findings.append(_warning("split_folders", text, "set data.path to the one that has a folder for each class"))
    return Listed(paths, labels, section.target, [], tuple(findings))


def _by_file(below: Below, section: ImagesData, labels: str) -> Listed:
    header, rows = _read_csv(existing(labels, "data.labels"), labels)
    known = set(below.pictures)
    name_at = _column_of_names(header, rows, known, labels)
    label_at = _column_of_labels(header, name_at, section, labels)
    pairs = [(posixpath.normpath(row[name_at].strip().replace("\\", "/")), row[label_at].strip()) for _, row in rows]
    lines = [line for line, _ in rows]
    _check_pairs(pairs, lines, labels)
    label_of, line_of = dict(pairs), {path: line for line, (path, _) in zip(lines, pairs, strict=True)}
    paths = sorted(known & label_of.keys())
    if not paths:
        raise DataError(
            f"data.labels: none of the {len(pairs):,} files that {labels} lists is below {section.path!r}: {pairs[0][0]}, …"
        )
    used = os.path.realpath(labels)
    others = [path for path in below.others if os.path.realpath(Path(section.path, path)) != used]
    findings = [*_left_out(replace(below, others=others))]
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
    labels_of_paths, lines_of_paths = [label_of[path] for path in paths], [line_of[path] for path in paths]
    return Listed(paths, labels_of_paths, header[label_at], lines_of_paths, tuple(findings))


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
        sum((row[at].strip() in known) + row[at].strip().lower().endswith(SUFFIXES) for _, row in rows)
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
    given = [label for _, label in pairs if label not in MISSING_WORDS]
    # Among texts, NA may be Namibia.
    missing = MISSING_WORDS if given and all(map(is_number, given)) else ("",)
    if empty := [(line, label) for line, (_, label) in zip(lines, pairs, strict=True) if label in missing]:
        words = ", ".join(sorted({repr(label) for _, label in empty if label}))
        seen = f" ({words} among numbers)" if words else ""
        faults.append(
            f"data.labels: {labels} has no label in line(s) {some([line for line, _ in empty])}{seen}; fill or delete them"
        )
    counts = Counter(path for path, _ in pairs)
    if twice := [path for path, count in counts.items() if count > 1]:
        where = [line for line, (path, _) in zip(lines, pairs, strict=True) if path == twice[0]]
        faults.append(
            f"data.labels: {labels} lists {len(twice):,} file(s) more than once: {named(twice)} (the first in lines "
            f"{some(where)}); keep one line for each"
        )
    if faults:
        raise DataError(*faults)


def is_number(text: str) -> bool:
    """Return whether a label is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _left_out(below: Below) -> Iterator[Finding]:
    if below.others:
        text = f"{len(below.others):,} file(s) are no pictures by their names and are left out: {named(below.others)}"
        yield _warning("other_files", text, f"pictures end in {', '.join(SUFFIXES)}")


def _warning(check: str, text: str, advice: str) -> Finding:
    return Finding(check=check, verdict="WARN", text=text, advice=advice)
