"""Small pictures of noise below `pictures`, and what becomes of them."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config.data_sections import ImagesData
from pipeline.data.findings import Finding
from pipeline.data.sources.pictures import open_pictures
from pipeline.data.table import Arrays


def opened(**keys: Any) -> Arrays:
    scratch = Path("scratch")
    scratch.mkdir(exist_ok=True)
    return open_pictures(ImagesData(**{"path": "pictures", **keys}), scratch, tell=lambda done, total: None)


def draw(path: str, *, color: tuple[int, int, int] | int = 90, size: tuple[int, int] = (6, 4), **options: Any) -> Path:
    """Write a picture of noise around a color; size: (width, height)."""
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    shape = (size[1], size[0]) if isinstance(color, int) else (size[1], size[0], 3)
    file = Path("pictures", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((rng.integers(0, 100, shape) + np.array(color)).astype(np.uint8)).save(file, **options)
    return file


def found(arrays: Arrays, check: str) -> Finding:
    (finding,) = [finding for finding in arrays.findings if finding.check == check]
    return finding
