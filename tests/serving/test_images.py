"""From the bytes of a picture file to numbers: one meaning for every format, and a reason in one line for what has none."""

import io
import struct
import warnings
import zlib
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from serving import images
from serving.errors import InvalidInput
from serving.images import decode

COLORS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3  # height 4, width 6
GRAYS = COLORS[:, :, 0].copy()
SIZE = (4, 6)


def file_of(picture: Image.Image | NDArray[Any], form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_files_give_their_own_numbers_by_channel(form: str, options: dict[str, Any]) -> None:
    found = decode(file_of(COLORS, form, **options), mode="RGB", size=SIZE)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, COLORS.transpose(2, 0, 1))


def test_gray_is_the_luma_of_colors_and_colors_are_thrice_the_gray() -> None:
    np.testing.assert_array_equal(decode(file_of(GRAYS), mode="L", size=SIZE), GRAYS)
    np.testing.assert_array_equal(decode(file_of(GRAYS), mode="RGB", size=SIZE), np.stack([GRAYS] * 3))
    luma = COLORS @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decode(file_of(COLORS), mode="L", size=SIZE), luma, atol=1)


@pytest.mark.parametrize("form", ["JPEG", "GIF"])
def test_lossy_files_give_about_their_numbers(form: str) -> None:
    np.testing.assert_allclose(decode(file_of(GRAYS, form), mode="L", size=SIZE), GRAYS, atol=12)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_whatever_color_hides_behind_it(mode: Literal["RGBA", "LA", "P"]) -> None:
    if mode == "P":
        picture = Image.fromarray(np.zeros(SIZE, dtype=np.uint8), "P")
        payload = file_of(picture, transparency=0)
    else:
        picture = Image.new(mode, (6, 4), (10, 20, 30, 0) if mode == "RGBA" else (10, 0))
        payload = file_of(picture)
    np.testing.assert_array_equal(decode(payload, mode="L", size=SIZE), np.full(SIZE, 255))


def test_half_transparent_black_is_gray() -> None:
    payload = file_of(Image.new("RGBA", (6, 4), (0, 0, 0, 128)))
    np.testing.assert_allclose(decode(payload, mode="L", size=SIZE), np.full(SIZE, 127), atol=1)


def test_palettes_and_one_bit_pictures_are_their_colors() -> None:
    palette = Image.fromarray(COLORS).quantize(24)
    np.testing.assert_array_equal(
        decode(file_of(palette), mode="RGB", size=SIZE), np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    )
    bits = Image.fromarray((GRAYS > 30).astype(np.uint8) * 255).convert("1")
    np.testing.assert_array_equal(decode(file_of(bits), mode="L", size=SIZE), (GRAYS > 30) * 255)


def test_of_16_bits_the_upper_remain_rounded() -> None:
    deep = np.linspace(0, 65_535, 24).astype(np.uint16).reshape(SIZE)
    np.testing.assert_array_equal(decode(file_of(deep), mode="L", size=SIZE), np.rint(deep / 257))


def test_cmyk_becomes_rgb() -> None:
    payload = file_of(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "JPEG")
    np.testing.assert_allclose(decode(payload, mode="RGB", size=SIZE)[:, 0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    # What a camera that was held so stores of GRAYS: the inverse of what a viewer does (EXIF 2.3, tag 0x0112).
    stored = {
        1: GRAYS,
        2: GRAYS[:, ::-1],
        3: GRAYS[::-1, ::-1],
        4: GRAYS[::-1],
        5: GRAYS.T,
        6: np.rot90(GRAYS),
        7: GRAYS[::-1, ::-1].T,
        8: np.rot90(GRAYS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = file_of(np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(decode(payload, mode="L", size=SIZE), GRAYS)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(form: str) -> None:
    frames = [Image.new("RGB", (6, 4), (value, value, value)) for value in (0, 255)]
    payload = file_of(frames[0], form, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(payload, mode="L", size=SIZE), np.zeros(SIZE))


def test_a_smaller_size_averages_all_pixels_instead_of_leaving_some_out() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))  # (64, 64)
    np.testing.assert_allclose(decode(file_of(stripes), mode="L", size=(4, 4)), np.full((4, 4), 127.5), atol=3)
    assert decode(file_of(COLORS), mode="RGB", size=(9, 5)).shape == (3, 9, 5)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says that it is large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_100, 10_000, 20_000, 2**31 - 1])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_picture_that_says_it_is_huge_is_refused_before_its_pixels_are_read(
    side: int, action: Literal["error", "ignore"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings(), pytest.raises(InvalidInput, match=r"^the picture is too large: .*50,000,000 pixels"):
        warnings.simplefilter(action)
        decode(bomb(side, side), mode="L", size=(8, 8))


PNG, JPEG = file_of(COLORS), file_of(COLORS, "JPEG")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "the picture is empty"),
        (b"age,height\n1,2\n", "this is no picture in PNG, JPEG, WebP, BMP or GIF; send the bytes of such a file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is no picture"),
        (file_of(COLORS, "TIFF"), "this is no picture"),
        (file_of(np.tile(COLORS, (50, 50, 1)))[:350], "the picture is damaged: "),
        (JPEG[:-40], "the picture is damaged: "),
        (PNG[:20], ""),
        (bomb(100, 100), "the picture is damaged: "),
    ],
)
def test_what_is_no_whole_picture_is_refused_in_one_line(payload: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(payload, mode="RGB", size=SIZE)
    assert str(caught.value).startswith(message)
    assert "Error" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_picture_of_hundreds_of_scans_is_refused_before_one_is_read_and_one_of_a_few_is_what_it_was() -> None:
    whole = file_of(np.tile(COLORS, (20, 20, 1)), "JPEG", progressive=True)
    scan, end = whole[whole.rfind(b"\xff\xda") : -2], whole[-2:]
    found = decode(whole, mode="RGB", size=(80, 120))
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(whole))).transpose(2, 0, 1))
    assert decode(whole[:-2] + scan * 50 + end, mode="RGB", size=SIZE).shape == (3, *SIZE)
    with pytest.raises(InvalidInput, match="^the picture has more than the 64 scans"):
        decode(whole[:-2] + scan * 64 + end, mode="RGB", size=SIZE)


def test_the_bytes_of_a_scan_mean_nothing_in_other_formats() -> None:
    colors = np.tile(np.array([[[255, 218, 255]]], dtype=np.uint8), (40, 40, 1))
    payload = file_of(colors, "BMP")
    assert payload.count(b"\xff\xda") > 64
    np.testing.assert_array_equal(decode(payload, mode="RGB", size=(40, 40)), colors.transpose(2, 0, 1))


@given(
    data=st.data(), whole=st.sampled_from([PNG, JPEG, file_of(COLORS, "GIF"), file_of(COLORS, "WEBP"), file_of(GRAYS, "BMP")])
)
def test_damaged_files_are_pictures_or_refused_and_never_anything_else(data: st.DataObject, whole: bytes) -> None:
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 5))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(damaged), mode="RGB", size=SIZE)
    except InvalidInput:
        return
    assert found.shape == (3, *SIZE)
    assert found.min() >= 0
    assert found.max() <= 255


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_large_picture_that_is_read_in_strips_is_the_one_that_is_read_whole(
    mode: Literal["L", "RGB"], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 4), dtype=np.uint8)
    colors = Image.fromarray(noise[..., :3].copy())
    palette = colors.quantize(40)
    pictures = [
        file_of(noise),
        file_of(Image.fromarray(noise).convert("LA")),
        file_of(palette, transparency=bytes(range(40))),
        file_of(palette, "GIF", transparency=5),
        file_of(colors.convert("CMYK"), "JPEG"),
        file_of(colors.convert("1")),
        file_of(colors, transparency=tuple(noise[0, 0, :3].tolist())),
        file_of(noise[..., :2].copy().view(np.uint16)[..., 0]),
    ]
    whole = [decode(payload, mode=mode, size=(37, 53)) for payload in pictures]
    monkeypatch.setattr(images, "_STRIP", 200)
    for payload, expected in zip(pictures, whole, strict=True):
        np.testing.assert_array_equal(decode(payload, mode=mode, size=(37, 53)), expected)


def test_the_limit_of_pixels_is_below_the_one_at_which_pillow_warns() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert images.MAX_PIXELS < Image.MAX_IMAGE_PIXELS
