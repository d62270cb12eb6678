"""Arrays of NumPy: an .npz file, or .npy files, which are mapped rather than read.

    inputs (rows, columns)                                        a Table with columns x0, x1, …; NaN is a missing value
    inputs (rows, height, width)                                  gray images
    inputs (rows, 3, height, width), or (rows, height, width, 3)  color images

Nothing is unpickled: a pickle runs code.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config.data_sections import ArraysData, DataTask
from pipeline.data.findings import Finding, some
from pipeline.data.sources import Opened
from pipeline.data.sources.array_files import read_arrays
from pipeline.data.sources.labels import Labels, read_labels
from pipeline.data.table import Arrays
from pipeline.errors import DataError

_BLOCK_BYTES = 32 * 1024 * 1024
_CHANNELS = (1, 3)
_DARKEST = 128  # uint8 images that never reach it, such as masks of 0 and 1, are not on the scale of picture files


def open_arrays(section: ArraysData) -> Opened:
    """Return the rows of .npz or .npy files. Raises DataError for what cannot be learned from."""
    inputs, targets = read_arrays(section)
    opened = from_arrays(inputs, targets, target=section.target, task=section.task, origin=section.path)
    if section.columns and isinstance(opened.source, Arrays):
        raise DataError(
            f"data.columns: {', '.join(section.columns)}: inputs of {section.path} have the shape {inputs.shape}, and only "
            "(rows, columns) have columns; leave it out"
        )
    return replace(opened, kinds=section.columns)


def from_arrays(inputs: NDArray[Any], targets: NDArray[Any], *, target: str, task: DataTask, origin: str) -> Opened:
    """Return arrays as a Table, if `inputs` are (rows, columns), else as Arrays.

    target: what the target is called. Raises DataError, in one line for each fault.
    """
    faults = [*_faults_of(inputs, origin)]
    if inputs.ndim and targets.ndim and len(inputs) != len(targets):
        faults.append(f"data: {origin} has {len(inputs):,} rows of inputs and {len(targets):,} of targets; give one for each")
    if faults:
        raise DataError(*faults)
    labels = read_labels(targets, task, name=target, origin=origin)
    return (_table if inputs.ndim == 2 else _images)(inputs, labels, target, origin)


def _faults_of(inputs: NDArray[Any], origin: str) -> Iterator[str]:
    if inputs.dtype.kind not in "biuf":
        yield f"data: inputs of {origin} are of type {inputs.dtype}; give numbers, or a CSV or Parquet file"
    if inputs.ndim == 1:
        yield f"data: inputs of {origin} are one number a row, {inputs.shape}; give (rows, columns): inputs.reshape(-1, 1)"
    elif inputs.ndim not in {2, 3, 4}:
        yield f"data: inputs of {origin} have the shape {inputs.shape}; give (rows, columns), or images (rows, height, width)"
    elif 0 in inputs.shape:
        yield f"data: inputs of {origin} have the shape {inputs.shape}, so there is nothing in them"
    elif inputs.ndim == 4 and not {inputs.shape[1], inputs.shape[3]} & set(_CHANNELS):
        yield (
            f"data: inputs of {origin} have the shape {inputs.shape}, without an axis of 1 or 3 channels; "
            "give (rows, channels, height, width) or (rows, height, width, channels)"
        )


def _table(inputs: NDArray[Any], labels: Labels, target: str, origin: str) -> Opened:
    from pipeline.data.sources.parquet import from_frame

    columns: dict[str, NDArray[Any]] = {f"x{index}": inputs[:, index] for index in range(inputs.shape[1])}
    several = labels.classes if labels.task == "multilabel" else labels.outputs
    names = several or (target,)
    taken = [name for name in names if name in columns]
    if taken:
        raise DataError(f"data.target: {taken[0]!r} is the name of a column of the inputs of {origin}; choose another")
    if labels.task == "classification":
        columns[target] = np.array(labels.classes)[labels.values]
    else:
        kind = np.int64 if labels.task == "multilabel" else np.float64
        columns.update(zip(names, labels.values.reshape(len(inputs), -1).T.astype(kind), strict=True))
    table = from_frame(columns, origin)
    return Opened(replace(table, findings=(*table.findings, *labels.findings)), names, labels.task)


def _images(inputs: NDArray[Any], labels: Labels, target: str, origin: str) -> Opened:
    images, findings = _upright(inputs, origin)
    largest = _largest(images, origin)
    arrays = Arrays(
        images.view(np.uint8) if images.dtype == np.bool_ else images,
        labels.values,
        labels.task,
        target,
        origin,
        labels.classes,
        labels.outputs,
        picture=_picture(images, largest),
        findings=(*findings, *labels.findings),
    )
    return Opened(arrays, (target,), labels.task)


def _upright(inputs: NDArray[Any], origin: str) -> tuple[NDArray[Any], tuple[Finding, ...]]:
    """Return (rows, height, width) or (rows, 3, height, width), and what had to be moved; only views, nothing is copied."""
    if inputs.ndim == 3:
        return inputs, ()
    last = inputs.shape[1] not in _CHANNELS
    images = np.moveaxis(inputs, 3, 1) if last else inputs
    if images.shape[1] == 1:
        images = images[:, 0]
    if images.shape == inputs.shape:
        return images, ()
    text = f"inputs of {origin} have the shape {inputs.shape}; they are taken as {images.shape}"
    return images, (Finding(check="channels", verdict="PASS", text=text, advice="requests have the second shape, too"),)


def _largest(images: NDArray[Any], origin: str) -> float:
    """Return the largest value of all images. Raises DataError for values that are not finite in float32."""
    step = max(1, _BLOCK_BYTES // max(1, math.prod(images.shape[1:]) * images.itemsize))
    largest, broken = -math.inf, []
    for start in range(0, len(images), step):
        block = np.asarray(images[start : start + step])
        flat = block.reshape(len(block), -1)
        with np.errstate(over="ignore"):
            top, low = flat.max(axis=1).astype(np.float32), flat.min(axis=1).astype(np.float32)
        largest = max(largest, float(top.max()))  # NaN is told below
        broken += (start + np.flatnonzero(~(np.isfinite(top) & np.isfinite(low)))).tolist()
    if broken:
        raise DataError(
            f"data: {len(broken):,} image(s) of {origin} hold NaN, infinite values or values beyond 32-bit floating point: "
            f"rows {some(broken)}; leave them out, or replace the values"
        )
    return largest


def _picture(images: NDArray[Any], largest: float) -> Literal["L", "RGB"] | None:
    """Return how uploads of picture files are read, where images have their scale: 8 bits, up to 255."""
    if images.dtype != np.uint8 or largest < _DARKEST:
        return None
    return "RGB" if images.ndim == 4 else "L"
