"""The digits of scikit-learn as picture files: a folder for each class, as people keep their pictures."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path, *, rows: int | None = None) -> Path:
    """Write <folder>/<digit>/<row>.png for the first rows, 8 x 8 gray, 0..16 scaled to 0..255; return the folder."""
    digits = load_digits()
    pixels = np.rint(digits.images[:rows] * (255 / 16)).astype(np.uint8)
    for row, (image, label) in enumerate(zip(pixels, digits.target[:rows], strict=True)):
        path = folder / str(label) / f"{row:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder
