"""Small pictures of rows, as SVG text or PNG bytes: cheap enough for hundreds of columns on one page."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.data.checks.subject import Subject
from pipeline.reporting.grids import image_grid, save_png

EACH = 3  # example pictures of a class
_MOST_CLASSES = 40
_LARGEST = 96  # pixels of an example's longer side
_FLOOR = 1.5  # a bar that is there can be seen


def bars(train: Sequence[int], test: Sequence[int], *, width: int = 160, height: int = 36) -> Markup:
    """Return an SVG: filled bars for the shares of train rows, a line over them for those of test rows.

    train, test: counts of the same bars; without any train row, nothing is drawn.
    """
    if not sum(train):
        return Markup()
    shares = [[count / max(1, sum(counts)) for count in counts] for counts in (train, test)]
    tallest = max(max(part, default=0) for part in shares)
    step = width / len(train)
    gap = min(1.0, step / 8)

    def top(share: float) -> float:
        tall = max(share / tallest * (height - 2), _FLOOR) if share > 0 else 0
        return round(height - tall, 1)

    filled = "".join(
        f"M{index * step:.1f} {height}V{top(share)}h{step - gap:.1f}V{height}z"
        for index, share in enumerate(shares[0])
        if share > 0
    )
    line = "".join(f"V{top(share)}h{step:.1f}" for share in shares[1])
    outline = f'<path class="te" d="M0 {height}{line}V{height}"/>' if sum(test) else ""
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    shape = f'<svg {box} preserveAspectRatio="none" aria-hidden="true"><path class="tr" d="{filled}"/>{outline}</svg>'
    return Markup(shape)  # noqa: S704  # numbers alone


def example_pictures(subject: Subject) -> dict[str, bytes]:
    """Return a PNG with up to three train pictures of each class, by its label; one of the first rows for a regression.

    Nothing for a table, nor for rows that no grid can show.
    """
    train, targets, schema = subject.inputs["train"], subject.targets["train"], subject.schema
    if len(schema.shape) not in (2, 3) or (len(schema.shape) == 3 and schema.shape[0] not in (1, 2, 3, 4)) or not len(train):
        return {}
    if schema.task == "classification":
        chosen = {label: np.flatnonzero(targets == code) for code, label in enumerate(schema.classes[:_MOST_CLASSES])}
    elif schema.task == "multilabel":
        chosen = {label: np.flatnonzero(targets[:, code] > 0) for code, label in enumerate(schema.classes[:_MOST_CLASSES])}
    else:
        chosen = {"": np.arange(4 * EACH)}
    limits = (schema.minimum, schema.maximum)
    each = EACH if schema.task != "regression" else 4 * EACH
    return {
        label: _png(image_grid(_small(train[rows[:each]]), columns=each, scale=limits))
        for label, rows in chosen.items()
        if len(rows)
    }


def _small(images: NDArray[Any]) -> NDArray[Any]:
    """Return (n, …, height, width) with the longer side at most 96 pixels, each the mean of a block."""
    height, width = images.shape[-2:]
    block = -(-max(height, width) // _LARGEST)
    if block == 1 or min(height, width) < block:
        return images
    cut = images[..., : height // block * block, : width // block * block]
    blocks = cut.reshape(*images.shape[:-2], height // block, block, width // block, block)
    return np.asarray(blocks.mean(axis=(-3, -1)))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "grid.png")
        save_png(path, pixels)
        return path.read_bytes()
