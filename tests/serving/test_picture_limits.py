"""Pictures that ask for too much, and how much memory those take that do not."""

import gc
import io
import struct
from typing import Any

import pytest
from PIL import Image

from serving import images
from serving.errors import TooLarge
from serving.facts import Limits
from serving.protocols import pictures as protocol
from tests.serving.conftest import PICTURE

FORM = "multipart/form-data"


def form_body(*files: bytes) -> tuple[bytes, str]:
    part = b'--c\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n%s\r\n'
    return b"".join(part % file for file in files) + b"--c--", f"{FORM}; boundary=c"


def blank(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def photo(width: int, height: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def scans(count: int) -> bytes:
    """A progressive JPEG of 40 x 20 pixels: ten scans, and the last of them again."""
    whole = photo(40, 20, progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * (count - 10) + whole[-2:]


def runs(width: int, height: int) -> bytes:
    """A BMP of runs, each line one pixel and an end."""
    content = b"\x01\x07\0\0" * height + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(content), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(content), 0, 0, start) + header + bytes(1024) + content


@pytest.mark.parametrize(
    ("files", "limits", "field", "message"),
    [
        ([b""] * 1001, {}, "files", "the form holds more than 1000 files; send fewer in a request"),
        ([b""] * 9, {"values": 8 * 72}, "files", "9 rows are more than the 8 that one request may hold"),
        (
            [blank(3, 4), blank(4, 4)],
            {"pixels": 12},
            "files[1]",
            "the picture is too large: 4 x 4, and 12 pixels are the limit",
        ),
        (
            [blank(3, 4)] * 3,
            {"pixels": 12},
            "files[2]",
            "the pictures up to this one take as long to read as 108 pixels of plain JPEG, and 96 are the limit of a request; ",
        ),
        ([photo(40, 20)] * 9, {"pixels": 800}, "files[8]", "the pictures up to this one take as long to read as 7,200 pixels"),
        ([scans(10)] * 5, {"pixels": 800}, "files[4]", "the pictures up to this one take as long to read as 7,600 pixels"),
        (
            [runs(40, 20)],
            {"pixels": 800},
            "files[0]",
            "the picture takes too long to read: 40 x 20 as BMP, longer than 6,400 pixels of a plain JPEG; send a smaller one",
        ),
    ],
    ids=["files", "rows", "one", "together", "photos", "scans", "runs"],
)
def test_what_is_too_large_is_refused_before_one_picture_is_decoded(
    files: list[bytes], limits: dict[str, Any], field: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(TooLarge) as caught:
        protocol.rows_of(*form_body(*files), PICTURE, Limits(**limits))
    assert caught.value.field == field
    assert str(caught.value).startswith(message)


def test_a_picture_that_is_the_body_and_too_large_is_refused_as_too_large() -> None:
    with pytest.raises(TooLarge, match="^the picture is too large: 4 x 4, and 12 pixels"):
        protocol.rows_of(blank(4, 4), "image/png", PICTURE, Limits(pixels=12))


def test_pictures_that_take_just_as_long_as_is_allowed_are_read() -> None:
    for files, pixels in (([photo(40, 20)] * 8, 800), ([scans(10)] * 4, 800), ([scans(64)], 800), ([runs(40, 20)], 1200)):
        rows = protocol.rows_of(*form_body(*files), PICTURE, Limits(pixels=pixels))
        assert rows.shape == (len(files), 3, 4, 6)


def test_a_picture_of_runs_that_is_the_body_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(TooLarge, match="^the picture takes too long to read: 40 x 20 as BMP"):
        protocol.rows_of(runs(40, 20), "image/bmp", PICTURE, Limits(pixels=1199))


def test_a_form_of_five_photos_of_12_megapixels_passes_one_of_them_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def photos_in_memory() -> int:
        """Counted by their size: pictures that earlier tests left to the garbage collector are none of ours."""
        return sum(issubclass(type(known), Image.Image) and known.size == (4000, 3000) for known in gc.get_objects())

    payload, found = blank(4000, 3000), []
    gc.collect()

    def watched(payload: bytes, **named: Any) -> Any:
        found.append(photos_in_memory())
        return images.decode(payload, **named)

    monkeypatch.setattr(protocol, "decode", watched)
    assert protocol.rows_of(*form_body(*[payload] * 5), PICTURE, Limits()).shape == (5, 3, 4, 6)
    assert found == [0] * 5
