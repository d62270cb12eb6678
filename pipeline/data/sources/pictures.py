"""Folders of picture files, decoded by the function that decodes uploads, so that training sees what the service will see.

Pixels go to a file of 8-bit numbers, which is mapped: 100,000 pictures need no more memory than a few.
"""

import io
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import ImagesData
from pipeline.data.findings import Finding
from pipeline.data.in_order import in_order
from pipeline.data.sources.labels import Labels, read_labels
from pipeline.data.sources.picture_files import Listed, is_number, list_pictures
from pipeline.data.sources.picture_folders import named
from pipeline.data.table import Arrays, Tell
from pipeline.errors import DataError
from serving.errors import InvalidInput
from serving.images import decode

Mode = Literal["L", "RGB"]
_LOOKED_AT = 200  # pictures that decide mode and size where they are auto
_LARGEST_SIDE = 224  # of a size that is auto
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width


def open_pictures(section: ImagesData, scratch: Path, *, tell: Tell) -> Arrays:
    """Return the pictures of a folder, in the order of their paths; those that are broken are left out and named in a FAIL.

    scratch: a folder for the decoded pixels. tell: called with pictures done and in all. Raises DataError where nothing can be
    learned.
    """
    listed = list_pictures(section)
    root = Path(section.path)
    size, mode = _look(root, listed.paths, section)
    pixels = _Pixels(scratch / "pictures.npy", size if mode == "L" else (3, *size))
    kept, broken = [], []
    for path, result in _decoded([root / path for path in listed.paths], mode, size, tell=tell):
        if isinstance(result, str):
            broken.append(f"{path.relative_to(root).as_posix()} ({result})")
        else:
            kept.append(path.relative_to(root).as_posix())
            pixels.write(result)
    inputs = pixels.close()
    findings = [*listed.findings, *_of_broken(broken, len(listed.paths))]
    if not kept:
        raise DataError(*(finding.line for finding in findings if finding.verdict == "FAIL"))
    labels = _labels(listed, kept, section, findings)
    text = f"{len(kept):,} pictures are read as {mode}, {size[0]} x {size[1]} pixels"
    findings.append(Finding(check="pictures", verdict="PASS", text=text, advice="set data.mode and data.size for others"))
    return Arrays(
        inputs,
        labels.values,
        labels.task,
        listed.target,
        section.path,
        labels.classes,
        picture=mode,
        original=lambda row: (root / kept[row]).read_bytes(),
        place=lambda row: kept[row],
        findings=tuple(findings),
    )


def _labels(listed: Listed, kept: list[str], section: ImagesData, findings: list[Finding]) -> Labels:
    """Return the labels of the pictures that are left: numbers, if a file of labels has fractions, else classes."""
    label_of = dict(zip(listed.paths, listed.labels, strict=True))
    texts = [label_of[path] for path in kept]
    if len({text.strip() for text in texts}) == 1:
        lines = [finding.line for finding in findings if finding.verdict == "FAIL"]
        raise DataError(
            *lines, f"data: the pictures of {section.path} have one label only, {texts[0]!r}; give another class, or numbers"
        )
    if section.task == "multilabel":
        raise DataError("data.task: multilabel is for tables and arrays; pictures have one label each")
    numbers = np.array(texts, dtype=np.float64) if section.labels is not None and all(map(is_number, texts)) else None
    if section.task == "regression" and numbers is None:
        raise DataError(f"data.task: regression needs a file of labels that are numbers; {_no_number(listed, section)}")
    has_fractions = numbers is not None and bool((numbers != np.floor(numbers)).any())
    if numbers is not None and (section.task == "regression" or (section.task == "auto" and has_fractions)):
        return read_labels(numbers, "regression", name=listed.target, origin=section.path)
    return read_labels(np.array(texts), "classification", name=listed.target, origin=section.path)


def _no_number(listed: Listed, section: ImagesData) -> str:
    """Return where the first label is that is no number."""
    if section.labels is None:
        return f"the names of folders are classes, such as {listed.labels[0]!r}"
    line, text = min((line, text) for line, text in zip(listed.lines, listed.labels, strict=True) if not is_number(text))
    return f"{section.labels} has {text!r} in line {line:,}"


def _of_broken(broken: list[str], files: int) -> Iterator[Finding]:
    if broken:
        yield Finding(
            check="broken_images",
            verdict="FAIL",
            text=f"{len(broken):,} of {files:,} pictures cannot be read: {named(broken)}",
            advice="replace them, or set prepare.allow=[broken_images] to leave them out",
        )


def _look(root: Path, paths: list[str], section: ImagesData) -> tuple[tuple[int, int], Mode]:
    """Return height and width, and the mode: where they are auto, by the pictures that are looked at."""
    step = max(1, len(paths) / _LOOKED_AT)
    sample = [root / paths[int(place * step)] for place in range(min(len(paths), _LOOKED_AT))]
    size = _median_size(sample) if section.size == "auto" else section.size
    if section.mode != "auto":
        return size, section.mode
    return size, "RGB" if any(_has_color(path, size) for path in sample) else "L"


def _median_size(sample: list[Path]) -> tuple[int, int]:
    """Return the median height and width, with their ratio but smaller where a side is longer than _LARGEST_SIDE."""
    sizes = [size for path in sample if (size := _upright_size(path)) is not None] or [(1, 1)]  # all broken: told later
    height, width = (statistics.median(side) for side in zip(*sizes, strict=True))
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _upright_size(path: Path) -> tuple[int, int] | None:
    """Return height and width as decode() will turn the picture; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            width, height = picture.size
            return (width, height) if picture.getexif().get(_ORIENTATION) in _TURNED else (height, width)
    except Exception:  # Pillow's parsers raise what they like on damaged files; decode() tells which ones
        return None


def _has_color(path: Path, size: tuple[int, int]) -> bool:
    try:
        red, green, blue = decode(path.read_bytes(), mode="RGB", size=size)
    except (InvalidInput, OSError):
        return False
    return not (np.array_equal(red, green) and np.array_equal(green, blue))


def _decoded(
    paths: list[Path], mode: Mode, size: tuple[int, int], *, tell: Tell
) -> Iterator[tuple[Path, NDArray[np.uint8] | str]]:
    """Yield each path with its pixels, or with why there are none; several at once, since Pillow lets other threads run."""
    found = in_order(lambda path: _pixels(path, mode, size), paths)
    for done, (path, pixels) in enumerate(zip(paths, found, strict=True), start=1):
        yield path, pixels
        tell(done, len(paths))


def _pixels(path: Path, mode: Mode, size: tuple[int, int]) -> NDArray[np.uint8] | str:
    try:
        values = decode(path.read_bytes(), mode=mode, size=size)
    except InvalidInput as error:
        return str(error)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    pixels = values.astype(np.uint8)
    assert np.array_equal(pixels, values), "decode() gives 8-bit numbers"  # what is stored is what the service computes
    return pixels


@dataclass
class _Pixels:
    """An .npy file that is written, not mapped, while it grows: mapped pages would count as this process's memory."""

    path: Path
    shape: tuple[int, ...]  # of one row
    rows: int = 0

    def __post_init__(self) -> None:
        self._file = self.path.open("wb")
        self._write_header()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        self._file.write(np.ascontiguousarray(pixels).data)
        self.rows += 1

    def close(self) -> NDArray[Any]:
        """Return what was written, mapped."""
        self._file.seek(0)
        self._write_header()  # as long as the first one: NumPy leaves room for the number of rows
        self._file.close()
        return np.load(self.path, mmap_mode="r") if self.rows else np.empty((0, *self.shape), np.uint8)

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
