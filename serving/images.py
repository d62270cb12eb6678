"""From the bytes of a picture file to the numbers that the model takes. The same function reads the pictures of training.

    rows = decode(payload, mode="RGB", size=(32, 32))       # (3, 32, 32) float32, 0 to 255

What is read, and how, so that a picture has one meaning only:

- PNG, JPEG, WebP, BMP and GIF, known by their content, whatever the file is called. Of an animation, the first frame.
- Turned upright as its EXIF orientation says, as every viewer does. Color profiles are ignored.
- What is transparent is put over white, as most viewers show it.
- CMYK and palettes become RGB; gray is ITU-R 601 luma; of 16 bits a channel the upper ones remain, rounded.
- Resized, where the size differs, by a bilinear filter that covers all pixels of a larger picture (antialiased). The aspect
  ratio gives way.
- Refused with InvalidInput: more than MAX_PIXELS pixels by the header, before any of them is decoded (TooManyPixels); damaged
  or cut files.
- Nothing is decoded at a reduced size, as a JPEG could be: other numbers than those of earlier bundles would come of it.
"""

import io
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from serving.errors import BundleError, InvalidInput
from serving.schema import Array

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 50_000_000  # of a picture
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM")  # no JSON begins like one of these
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_16_BITS = "I;16"  # how the modes of 16-bit gray begin
_BY_SCANS = {"JPEG", "MPO"}
_SCAN = b"\xff\xda"  # begins each pass over all pixels of a JPEG; encoders write ten, and a few bytes may ask for hundreds
_MOST_SCANS = 64
# What a pixel costs at most, in pixels of a JPEG of one scan: measured by CPU time on pictures of 50 megapixels.
_EFFORT = {"JPEG": 1.0, "MPO": 1.0, "GIF": 2.0, "PNG": 3.0, "WEBP": 3.0, "BMP": 1.0}
_RUNS, _RUNS_EFFORT = "bmp_rle", 12.0  # a BMP of runs, which Pillow decodes in Python: 30 kB may take six seconds
_SCAN_EFFORT = 0.1  # each further scan of a JPEG
MOST_EFFORT = 8  # times the pixels of the largest picture that a request may hold; the largest ones of one kind each pass alone
_DAMAGED = "the picture is damaged: it is cut, or its content is not what its format says; send a whole file"
_STRIP = 2**20  # pixels that are turned into another mode at once


class TooManyPixels(InvalidInput):
    """Raised for a picture whose header says that it has more pixels than are decoded."""


def decode(payload: bytes, *, mode: Literal["L", "RGB"], size: tuple[int, int], most_pixels: int = MAX_PIXELS) -> Array:
    """Return (height, width) for mode L or (3, height, width) for RGB, float32, 0 to 255.

    size: (height, width) wanted. Raises InvalidInput, in one line, for what is no whole picture of a known format; BundleError
    where Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise BundleError("reading pictures needs Pillow, which is not installed: pip install pillow") from error

    height, width = size
    picture = _flat(_opened(payload, most_pixels), mode)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(picture, dtype=np.float32)
    return values if mode == "L" else np.ascontiguousarray(values.transpose(2, 0, 1))


def looks_like_picture(payload: bytes) -> bool:
    """Return whether bytes begin as those of a format do that is read."""
    return payload.startswith(_MAGIC)


def effort_of(payload: bytes, *, most_pixels: int = MAX_PIXELS) -> int:
    """Return how many pixels of a JPEG of one scan take as long to decode; decodes nothing, raises InvalidInput as `decode`."""
    return _effort(_recognized(payload, most_pixels), payload)


def _opened(payload: bytes, most_pixels: int) -> "Image":
    """Return the first frame, decoded and upright."""
    from PIL import ImageOps

    picture = _recognized(payload, most_pixels)
    if picture.format in _BY_SCANS and payload.count(_SCAN) > _MOST_SCANS:
        raise InvalidInput(f"the picture has more than the {_MOST_SCANS} scans of one that is meant to be seen; save it anew")
    try:
        picture.load()
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # Pillow's parsers raise what they like on damaged files, and their words are for programmers
        raise InvalidInput(_DAMAGED) from error


def _effort(picture: "ImageFile", payload: bytes) -> int:
    each = _EFFORT[picture.format or ""]
    if picture.format in _BY_SCANS:
        each += _SCAN_EFFORT * max(0, payload.count(_SCAN) - 1)
    elif any(tile.codec_name == _RUNS for tile in picture.tile):
        each = _RUNS_EFFORT
    return round(picture.width * picture.height * each)


def _recognized(payload: bytes, most_pixels: int) -> "ImageFile":
    """Return a picture of which only the header is read."""
    from PIL import (
        Image,
        UnidentifiedImageError,
        WebPImagePlugin,  # noqa: F401  # Image.open registers the others itself
    )

    if not payload:
        raise InvalidInput("the picture is empty")
    try:
        picture = Image.open(io.BytesIO(payload), formats=_FORMATS)
    except UnidentifiedImageError:
        raise InvalidInput("this is no picture in PNG, JPEG, WebP, BMP or GIF; send the bytes of such a file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(f"the picture is too large: more than {most_pixels:,} pixels; send a smaller one") from error
    except Exception as error:  # as above
        raise InvalidInput(_DAMAGED) from error
    if picture.width * picture.height > most_pixels:
        raise TooManyPixels(
            f"the picture is too large: {picture.width} x {picture.height}, and {most_pixels:,} pixels are the limit; "
            "send a smaller one"
        )
    if _effort(picture, payload) > MOST_EFFORT * most_pixels:
        raise TooManyPixels(
            f"the picture takes too long to read: {picture.width} x {picture.height} as {picture.format}, "
            f"longer than {MOST_EFFORT * most_pixels:,} pixels of a plain JPEG; send a smaller one, or a plain JPEG"
        )
    return picture


def _flat(picture: "Image", mode: Literal["L", "RGB"]) -> "Image":
    """Return a picture without transparency, palette or more than 8 bits, in the mode that is wanted.

    In strips, as the ways through several modes would hold four copies of a large picture; each pixel becomes what it would be.
    """
    from PIL import Image

    if picture.mode == mode and not picture.has_transparency_data:
        return picture
    width, height = picture.size
    rows = max(1, _STRIP // width)
    if rows >= height:
        return _flat_strip(picture, mode)
    flat = Image.new(mode, picture.size)
    for top in range(0, height, rows):
        flat.paste(_flat_strip(picture.crop((0, top, width, min(top + rows, height))), mode), (0, top))
    return flat


def _flat_strip(picture: "Image", mode: Literal["L", "RGB"]) -> "Image":
    from PIL import Image

    if picture.mode.startswith(_16_BITS):
        picture = Image.fromarray(_to_8_bits()[np.asarray(picture)])
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture if picture.mode == mode else picture.convert("RGB").convert(mode)


@cache
def _to_8_bits() -> NDArray[np.uint8]:
    """Return the 8 bits of each number of 16, as 65535 / 255 = 257."""
    return np.rint(np.arange(2**16) / 257).astype(np.uint8)
