"""A grid shows each image, at its place, with its pixels large enough to be seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.reporting.grids import Picture, image_grid, picture, save_png

BACKGROUND = (72, 96, 140)


def cell(grid: Picture, row: int, column: int, size: int = 64, gap: int = 4) -> Picture:
    top, left = row * (size + gap), column * (size + gap)
    return grid[top : top + size, left : left + size]


def random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_each_image_is_enlarged_without_smoothing_at_its_place() -> None:
    images = random(7, 8, 8)
    grid = image_grid(images, columns=3)
    assert grid.dtype == np.uint8
    assert grid.shape == (3 * 64 + 2 * 4, 3 * 64 + 2 * 4, 3)
    for index, image in enumerate(images):
        small = cell(grid, index // 3, index % 3)[::8, ::8]
        expected = np.rint((image - image.min()) / (image.max() - image.min()) * 255)
        np.testing.assert_array_equal(small, np.repeat(expected[..., None], 3, axis=-1))
        np.testing.assert_array_equal(cell(grid, index // 3, index % 3), small.repeat(8, axis=0).repeat(8, axis=1))
    assert (cell(grid, 2, 1) == BACKGROUND).all(), "a place without an image"
    assert (grid[64:68] == BACKGROUND).all(), "the gap between two rows"


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 8, 8), (64, 64)),
        ((2, 3, 5), (39, 65)),
        ((2, 1, 100), (1, 100)),
        ((2, 3, 3, 3), (66, 66)),
        ((2, 64, 48, 3), (64, 48)),
    ],
)
def test_a_cell_has_64_pixels_at_least_on_its_longer_side(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert image_grid(random(*shape), columns=1).shape == (2 * size[0] + 4, size[1], 3)


def test_channels_are_colors_wherever_they_stand() -> None:
    images = random(4, 3, 8, 8)
    first = image_grid(images, columns=2, scale="together")
    np.testing.assert_array_equal(first, image_grid(images.transpose(0, 2, 3, 1), columns=2, scale="together"))
    assert not (first[..., 0] == first[..., 1]).all()
    two = cell(image_grid(images[:, :2], columns=2), 0, 0)
    assert (two[..., 2] == 0).all()
    for gray in (images[:, :1], np.concatenate([images, images], axis=1)):
        shown = cell(image_grid(gray, columns=2), 0, 0)
        assert (shown[..., 0] == shown[..., 1]).all()
        assert shown.max() > shown.min()


def test_a_range_for_each_image_for_all_or_a_given_one() -> None:
    images = np.stack([np.linspace(0, 1, 64), np.linspace(0, 4, 64)]).reshape(2, 8, 8)
    assert [cell(image_grid(images, columns=2), 0, column).max() for column in (0, 1)] == [255, 255]
    assert [cell(image_grid(images, columns=2, scale="together"), 0, column).max() for column in (0, 1)] == [64, 255]
    assert [cell(image_grid(images, columns=2, scale=(0, 8)), 0, column).max() for column in (0, 1)] == [32, 128]
    assert cell(image_grid(images, columns=2, scale=(0, 2)), 0, 1).max() == 255, "what lies outside is cut off"


@pytest.mark.parametrize(
    "images",
    [
        np.full((2, 8, 8), 3.0),
        np.full((2, 8, 8), np.nan),
        np.array([np.nan, np.inf, -np.inf, 1.0]).reshape(1, 2, 2),
        np.array([3e38, -3e38, 0, 1], dtype=np.float32).reshape(1, 2, 2),
        np.zeros((1, 1, 1), dtype=bool),
        np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
    ],
)
@pytest.mark.parametrize("scale", ["each", "together"])
def test_whatever_a_network_gives_is_shown_without_a_warning(images: NDArray[Any], scale: Any) -> None:
    grid = image_grid(images, columns=4, scale=scale)
    assert grid.dtype == np.uint8


def test_nan_is_black_and_infinities_are_the_ends() -> None:
    grid = image_grid(np.array([[[np.nan, np.inf], [-np.inf, 1.0], [0.0, 0.5]]]), columns=1)
    assert grid[::22, ::22, 0][:3, :2].tolist() == [[0, 255], [0, 255], [0, 128]]


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (1, 2, 3, 4, 5)])
def test_what_is_no_batch_of_images_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"the shape \({shape[0]}, "):
        image_grid(np.zeros(shape), columns=2)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 8)])
def test_a_changed_image_stands_right_of_its_original(shape: tuple[int, ...]) -> None:
    before = random(20, *shape)
    pairs = picture(before, before + 1)
    assert pairs.shape == (4 * 64 + 3 * 4, 8 * 64 + 7 * 4 + 3 * 8, 3), "16 pairs, four in a row"
    assert (pairs[:, 64:68] == BACKGROUND).all()
    assert (pairs[:, 132:144] == BACKGROUND).all(), "a wide gap after each pair"
    low, high = before[:16].min(), before[:16].max()
    np.testing.assert_array_equal(
        pairs[:64, :132], image_grid(np.stack([before[0], before[0] + 1]), columns=2, scale=(low, high))
    )


def test_a_picture_in_a_given_range_needs_no_sixteen_rows() -> None:
    assert picture(random(3, 8, 8), random(3, 8, 8), scale=(0.0, 1.0)).shape == (64, 6 * 64 + 5 * 4 + 2 * 8, 3)


def test_a_png_holds_the_very_pixels(tmp_path: Path) -> None:
    from PIL import Image

    grid = image_grid(random(5, 3, 8, 8), columns=3)
    save_png(tmp_path / "grid.png", grid)
    with Image.open(tmp_path / "grid.png") as opened:
        np.testing.assert_array_equal(np.asarray(opened), grid)
