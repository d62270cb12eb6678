"""Many small images in one picture, large enough to see their pixels; the only file that imports Pillow.

grid = image_grid(feature_maps, columns=8)  # (height, width, 3) uint8, for TensorBoard or save_png
"""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3)
Range = tuple[float, float]

_CELL = 64  # pixels of a cell's longer side, at least
_GAP, _WIDE_GAP = 4, 12  # pixels between two cells, and between two groups of columns
_BACKGROUND = (72, 96, 140)  # no gray, so that it is told apart from images without colors
_PAIRS = 16


def image_grid(
    images: NDArray[Any], *, columns: int, scale: Literal["each", "together"] | Range = "each", group: int | None = None
) -> Picture:
    """Return images side by side, row by row, enlarged by a whole factor until the longer side has 64 pixels.

    images: (n, height, width), (n, channels, height, width) or (n, height, width, 3), any number type; one channel is shown as
    gray, two as red and green, three as RGB, of more the mean as gray. scale: what becomes black and white: the least and the
    largest value of each image, of all together, or the two values given. NaN is black, infinities are the ends of the range.
    group: columns that stand closer together. Raise ValueError for other shapes and for no image at all.
    """
    cells = _colored(_unit(_channels_last(images), scale))
    factor = max(1, math.ceil(_CELL / max(cells.shape[1:3])))
    cells = cells.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = cells.shape
    columns = min(columns, count)
    lefts = _starts(columns, width, group)
    tops = _starts(math.ceil(count / columns), height, None)
    picture = np.empty((tops[-1] + height, lefts[-1] + width, 3), dtype=np.uint8)
    picture[:] = _BACKGROUND
    for index, cell in enumerate(cells):
        top, left = tops[index // columns], lefts[index % columns]
        picture[top : top + height, left : left + width] = cell
    return picture


def picture(before: NDArray[Any], after: NDArray[Any], *, scale: Literal["together"] | Range = "together") -> Picture:
    """Return up to 16 originals, each with its changed version to the right, four pairs in a row.

    before, after: (n, *shape of an image), as for `image_grid`. scale: the range of the originals, or the two values given; one
    range for all, so that a change of brightness shows.
    """
    pairs = np.stack([before[:_PAIRS], after[:_PAIRS]], axis=1)
    limits = _limits(pairs[:, 0]) if scale == "together" else scale
    return image_grid(pairs.reshape(-1, *pairs.shape[2:]), columns=8, scale=limits, group=2)


def save_png(path: Path, pixels: Picture) -> None:
    """Write pixels (height, width, 3) uint8 as PNG, without loss."""
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG")


def _channels_last(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return (n, height, width, channels). Where both ends could be channels, the first ones are."""
    wide = np.asarray(images, dtype=np.float64)
    if wide.ndim == 3:
        wide = wide[..., np.newaxis]
    elif wide.ndim == 4 and not (wide.shape[-1] == 3 and wide.shape[1] > 3):
        wide = np.moveaxis(wide, 1, -1)
    if wide.ndim != 4 or not wide.size:
        raise ValueError(f"a grid takes images of 2 or 3 dimensions, at least one; the array has the shape {np.shape(images)}")
    return wide


def _unit(images: NDArray[np.float64], scale: Literal["each", "together"] | Range) -> NDArray[np.float64]:
    """Return images with the values from 0 to 1; what has one value only is 0."""
    if scale == "each":
        return np.stack([_unit(image, "together") for image in images])
    low, high = _limits(images) if scale == "together" else scale
    inside = np.clip(np.nan_to_num(images, nan=low, posinf=high, neginf=low), low, high)
    return (inside - low) / (high - low) if high > low else np.zeros_like(inside)


def _limits(values: NDArray[Any]) -> Range:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _colored(images: NDArray[np.float64]) -> Picture:
    """Return (n, height, width, 3) uint8 of images (n, height, width, channels) from 0 to 1."""
    channels = images.shape[-1]
    if channels == 2:
        images = np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    elif channels != 3:
        images = np.repeat(images.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.rint(images * 255).astype(np.uint8)


def _starts(count: int, size: int, group: int | None) -> list[int]:
    """Return the first pixel of each of `count` cells along one axis."""
    wide = _WIDE_GAP - _GAP
    return [index * (size + _GAP) + (index // group * wide if group else 0) for index in range(count)]
