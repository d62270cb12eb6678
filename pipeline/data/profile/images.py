"""What pictures look like as numbers: size, mean and deviation of each channel, brightness of each picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Split
from pipeline.data.profile.association import Variable, associate
from pipeline.data.profile.histogram import histogram, rounded

_AT_ONCE = 256  # pictures that are float64 in memory


def images_profile(inputs: dict[Split, NDArray[Any]], target: Variable) -> dict[str, Any]:
    """Return shape, channels, brightness and how far brightness alone goes with the target.

    inputs: (rows, height, width) or (rows, channels, height, width), or any other shape, which counts as one channel.
    brightness: mean of all pixels of a picture.
    """
    train = inputs["train"]
    means, squares = _channel_means(train)
    brightness = {split: _channel_means(part)[0].mean(axis=1) for split, part in inputs.items()}
    mean = means.mean(axis=0)
    deviation = np.sqrt(np.maximum(squares.mean(axis=0) - mean**2, 0))
    link = associate(Variable(brightness["train"], classes=False), target)
    return {
        "shape": list(train.shape[1:]),
        "channels": [{"mean": rounded(m), "deviation": rounded(d)} for m, d in zip(mean, deviation, strict=True)],
        "brightness": histogram(brightness),
        "brightness_association": {"method": link.method, "value": round(link.value, 4)} if link else None,
    }


def _channel_means(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each picture's channels, and of their squares: (rows, channels) each."""
    channels = rows.shape[1] if rows.ndim == 4 else 1
    means, squares = np.empty((2, len(rows), channels))
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        wide = part.reshape(len(part), channels, -1).astype(np.float64)
        means[start : start + len(part)] = wide.mean(axis=2)
        squares[start : start + len(part)] = (wide**2).mean(axis=2)
    return means, squares
