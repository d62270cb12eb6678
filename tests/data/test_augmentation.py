"""Each augmentation changes what its key says and nothing else, and the same random state gives the same batch."""

import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.augment_sections import AugmentConfig
from pipeline.data.augmentation import Augmentation
from pipeline.errors import UserError
from serving.schema import Feature, Task
from tests.conftest import ROOT

LOW, HIGH, CLASSES = -2.0, 6.0, 4
SHAPES = [(8, 8), (1, 8, 8), (3, 9, 7)]
ALL: dict[str, Any] = {
    "crop_padding": 2,
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "rotate_degrees": 30.0,
    "translate": 0.1,
    "scale": 0.2,
    "shear_degrees": 10.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "erase": 0.5,
    "mixup_alpha": 0.4,
    "cutmix_alpha": 1.0,
}
COLOR = ALL | {"saturation": 0.3, "hue": 0.1}


def augmentation(shape: tuple[int, ...], *, task: Task = "classification", **keys: Any) -> Augmentation:
    return Augmentation(AugmentConfig(**keys), shape, task=task, classes=CLASSES, low=LOW, high=HIGH)


def images(shape: tuple[int, ...], rows: int = 32) -> Tensor:
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(3)) * (HIGH - LOW) + LOW


def labels(rows: int = 32) -> Tensor:
    return torch.arange(rows) % CLASSES


def changed(inputs: Tensor, **keys: Any) -> Tensor:
    """Return the inputs changed, after checking that the original and the targets are as before."""
    torch.manual_seed(0)
    before, targets = inputs.clone(), labels(len(inputs))
    after, same = augmentation(tuple(inputs.shape[1:]), **keys)(inputs, targets)
    assert same is targets
    assert torch.equal(inputs, before)
    assert after.shape == before.shape
    assert after.dtype == torch.float32
    return after


def test_what_is_off_returns_the_very_same_tensors() -> None:
    inputs, targets = images((8, 8)), labels()
    after, same = augmentation((8, 8))(inputs, targets)
    assert after is inputs
    assert same is targets
    assert not AugmentConfig().active


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("key", "dim"), [("flip_horizontal", -1), ("flip_vertical", -2)])
def test_a_flip_is_the_mirror_image_of_as_many_rows_as_its_probability_says(shape: tuple[int, ...], key: str, dim: int) -> None:
    inputs = images(shape)
    assert torch.equal(changed(inputs, **{key: 1.0}), inputs.flip(dim))
    many = images(shape, 2000)
    after = changed(many, **{key: 0.25}).flatten(1)
    mirrored = (after == many.flip(dim).flatten(1)).all(1)
    assert ((after == many.flatten(1)).all(1) ^ mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_crop_is_a_window_of_the_dark_bordered_image_and_every_window_comes_up(shape: tuple[int, ...]) -> None:
    inputs = images(shape, 400)
    after, padded = changed(inputs, crop_padding=2), functional.pad(inputs, [2] * 4, value=LOW)
    height, width = shape[-2:]
    windows = [padded[..., top : top + height, left : left + width] for top in range(5) for left in range(5)]
    matches = torch.stack([(after == window).flatten(1).all(1) for window in windows])  # (windows, rows)
    assert matches.any(0).all()
    assert matches.any(1).all()


def spot(size: int, row: int, column: int, rows: int = 200) -> Tensor:
    """Return dark images with a bright 3 x 3 square."""
    inputs = torch.full((rows, size, size), LOW)
    inputs[:, row - 1 : row + 2, column - 1 : column + 2] = HIGH
    return inputs


def centers(pictures: Tensor) -> Tensor:
    """Return (rows, 2): the center of brightness, row and column."""
    weights = pictures - LOW
    at = torch.arange(pictures.shape[-1], dtype=torch.float32)
    return torch.stack([(weights.sum(2) * at).sum(1), (weights.sum(1) * at).sum(1)], dim=1) / weights.sum((1, 2)).unsqueeze(1)


def test_a_rotation_keeps_the_center_and_distances_from_it_and_stays_below_its_angle() -> None:
    after = changed(spot(21, 10, 10), rotate_degrees=40.0)
    torch.testing.assert_close(after[:, 10, 10], torch.full((200,), HIGH))
    moved = centers(changed(spot(21, 10, 16), rotate_degrees=40.0)) - 10
    torch.testing.assert_close(moved.norm(dim=1), torch.full((200,), 6.0), atol=0.1, rtol=0)
    angles = torch.atan2(moved[:, 0], moved[:, 1]).rad2deg()
    assert 35 < angles.max() < 41
    assert -41 < angles.min() < -35


def test_a_translation_moves_by_at_most_its_share_both_ways() -> None:
    moved = centers(changed(spot(20, 10, 10), translate=0.25)) - 10
    assert moved.abs().max() < 5.01
    assert (moved.amax(0) > 4.5).all()
    assert (moved.amin(0) < -4.5).all()


def test_a_scale_moves_points_from_or_to_the_center_by_at_most_its_share() -> None:
    moved = centers(changed(spot(21, 10, 15), scale=0.2)) - 10
    torch.testing.assert_close(moved[:, 0], torch.zeros(200), atol=0.05, rtol=0)
    assert 3.95 < moved[:, 1].min() < 4.2
    assert 5.8 < moved[:, 1].max() < 6.05


def test_a_shear_moves_a_row_of_pixels_by_its_distance_from_the_center() -> None:
    up, down = (centers(changed(spot(21, row, 10), shear_degrees=30.0)) - 10 for row in (5, 15))
    torch.testing.assert_close(up[:, 1], -down[:, 1], atol=0.1, rtol=0)
    torch.testing.assert_close(down[:, 0], torch.full((200,), 5.0), atol=0.1, rtol=0)
    assert 2.6 < up[:, 1].abs().max() < 5 * np.tan(np.radians(30)) + 0.1


def test_what_is_moved_leaves_the_darkest_value_behind() -> None:
    after = changed(torch.full((200, 16, 16), HIGH), rotate_degrees=30.0)
    assert (after[:, 0, 0] < HIGH).any()
    assert (after == LOW).any()
    assert after.max() == HIGH, "interpolation, which rounds, does not leave the range"
    assert (changed(torch.full((50, 3, 9, 9), LOW), rotate_degrees=45.0, translate=0.5) == LOW).all()


def test_brightness_multiplies_each_image_above_the_darkest_value_by_one_factor() -> None:
    inputs = (images((3, 6, 6), 300) - LOW) * 0.5 + LOW  # nothing is clipped
    before, after = (inputs - LOW).flatten(1), (changed(inputs, brightness=0.3) - LOW).flatten(1)
    ratios = after.sum(1) / before.sum(1)
    torch.testing.assert_close(after, before * ratios.unsqueeze(1))
    assert 0.7 <= ratios.min() < 0.72
    assert 1.28 < ratios.max() <= 1.3001


@pytest.mark.parametrize("shape", [(6, 6), (2, 6, 6)])
def test_contrast_multiplies_the_distance_from_the_mean_of_each_image(shape: tuple[int, ...]) -> None:
    inputs = (images(shape, 300) - LOW) * 0.5 + LOW + 2
    after = changed(inputs, contrast=0.3).flatten(1)
    mean = inputs.flatten(1).mean(1, keepdim=True)
    torch.testing.assert_close(after.mean(1, keepdim=True), mean)
    ratios = after.std(1) / inputs.flatten(1).std(1)
    torch.testing.assert_close(after, mean + (inputs.flatten(1) - mean) * ratios.unsqueeze(1))
    assert 0.7 <= ratios.min() < 0.72
    assert 1.28 < ratios.max() <= 1.3001


@pytest.mark.parametrize("key", ["saturation", "hue"])
def test_colors_change_where_there_are_any(key: str) -> None:
    gray = images((1, 6, 6)).expand(-1, 3, -1, -1)
    torch.testing.assert_close(changed(gray, **{key: 0.5}), gray)
    assert not torch.allclose(changed(images((3, 6, 6)), **{key: 0.5}), images((3, 6, 6)), atol=0.1)


def test_a_hue_keeps_the_brightest_and_the_darkest_of_a_pixels_colors() -> None:
    inputs = images((3, 6, 6))
    after = changed(inputs, hue=0.5)
    torch.testing.assert_close(after.amax(1), inputs.amax(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.amin(1), inputs.amin(1), atol=1e-4, rtol=0)


def test_a_hue_turns_by_at_most_its_share_of_the_color_circle_both_ways() -> None:
    red = torch.tensor([HIGH, LOW, LOW]).view(3, 1, 1).expand(300, 3, 6, 6)
    _, green, blue = ((changed(red, hue=0.1)[:, :, 0, 0] - LOW) / (HIGH - LOW)).T  # 1/6 of the circle is yellow or magenta
    for color in (green, blue):
        assert color.max().item() == pytest.approx(0.6, abs=0.02)
        assert (color == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", [(8, 8), (3, 20, 10)])
def test_an_erased_rectangle_is_blank_and_the_rest_is_as_before(shape: tuple[int, ...]) -> None:
    inputs = images(shape, 2000)
    after = changed(inputs, erase=0.4)
    blank = (after != inputs).reshape(2000, -1, *shape[-2:]).any(1)  # (rows, height, width)
    assert (after[after != inputs] == LOW).all()
    height, width = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(blank.sum((1, 2)), height * width), "every changed row and column is changed throughout"
    erased = blank.flatten(1).any(1)
    assert erased.float().mean().item() == pytest.approx(0.4, abs=0.04)
    share = (height * width)[erased] / (shape[-2] * shape[-1])
    assert share.min() < 0.08
    assert 0.25 < share.max() < 0.42
    where = blank.float().sum(0) / blank.sum()  # (height, width)
    for dim in (0, 1):
        along = where.sum(dim)
        assert along.min() > 0, "every pixel can be erased"
        middle = (along * torch.arange(len(along))).sum() / (len(along) - 1)
        assert middle.item() == pytest.approx(0.5, abs=0.03), "no side is erased more often"


def test_mixup_mixes_classes_exactly_as_it_mixes_rows() -> None:
    targets = labels()
    augment = augmentation((CLASSES,), mixup_alpha=0.4)
    torch.manual_seed(0)
    rows, mixed = augment(functional.one_hot(targets, CLASSES).float(), targets)  # a row says its class
    torch.testing.assert_close(rows, mixed)
    torch.testing.assert_close(mixed.sum(1), torch.ones(32))
    assert (mixed.amax(1) < 0.99).any()
    assert torch.isfinite(functional.cross_entropy(torch.zeros(32, CLASSES), mixed))


def test_cutmix_mixes_classes_by_the_area_that_it_pastes() -> None:
    targets = labels(200)
    inputs = functional.one_hot(targets, CLASSES).float()[:, :, None, None].expand(-1, -1, 9, 8)
    torch.manual_seed(0)
    after, mixed = augmentation((CLASSES, 9, 8), cutmix_alpha=1.0)(inputs, targets)
    torch.testing.assert_close(after.mean((2, 3)), mixed)
    assert set(after.unique().tolist()) == {0.0, 1.0}, "pasted, not blended"
    assert mixed.max(1).values.mean() < 0.9


def test_mixup_mixes_the_values_of_a_regression() -> None:
    targets = torch.linspace(0, 5, 32)
    torch.manual_seed(0)
    rows, mixed = augmentation((2,), task="regression", mixup_alpha=1.0)(targets.unsqueeze(1).expand(-1, 2), targets)
    torch.testing.assert_close(rows, mixed.unsqueeze(1).expand(-1, 2))
    assert not torch.equal(mixed, targets)


def test_mixup_mixes_labels_and_several_values_as_it_mixes_rows() -> None:
    shares = torch.rand(32, 3, generator=torch.Generator().manual_seed(0))
    for task, targets in (("multilabel", (shares < 0.4).float()), ("regression", shares * 100)):
        rows = targets.repeat(1, 2) / 100  # what happens to the targets happens to the rows, too
        torch.manual_seed(0)
        after, mixed = augmentation((6,), task=task, mixup_alpha=1.0)(rows, targets)  # type: ignore[arg-type]
        assert mixed.shape == (32, 3)
        assert not torch.equal(mixed, targets)
        torch.testing.assert_close(after[:, :3] * 100, mixed, atol=1e-4, rtol=1e-5)


def test_cutmix_mixes_labels_by_the_area_that_it_pastes() -> None:
    rows = torch.zeros(8, 10, 10)
    rows[::2] = 1.0
    targets = torch.stack([torch.arange(8) % 2 == 0, torch.ones(8, dtype=torch.bool)], dim=1).float()
    torch.manual_seed(0)
    after, mixed = augmentation((10, 10), task="multilabel", cutmix_alpha=1.0)(rows, targets)
    torch.testing.assert_close(mixed[:, 0], after.mean(dim=(1, 2)), msg="the share of the bright partner is its label's")
    assert torch.equal(mixed[:, 1], torch.ones(8)), "a label that both rows have stays"


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (Feature("city", 1, 3, "category", ("a", "b", "c")), "column 'city' is a category"),
        (Feature("born", 0, 9, "date"), "column 'born' is a date"),
        (Feature("member", 0, 1, "boolean", ("no", "yes")), "column 'member' is a boolean"),
        (Feature("income", 0, 9, nullable=True), "column 'income' may be missing"),
    ],
)
def test_mixup_is_refused_where_a_mixture_would_be_no_row(feature: Feature, words: str) -> None:
    plain = Feature("age", 0, 99)
    options: dict[str, Any] = {"task": "classification", "classes": CLASSES, "low": LOW, "high": HIGH}
    with pytest.raises(UserError) as caught:
        Augmentation(AugmentConfig(mixup_alpha=0.2), (2,), features=(plain, feature), **options)
    assert caught.value.lines == (f"augment.mixup_alpha: 0.2 mixes numbers that are always there, and {words}; set it to 0",)
    Augmentation(AugmentConfig(mixup_alpha=0.2), (2,), features=(plain, plain), **options)


def test_of_mixup_and_cutmix_one_is_drawn_for_each_batch() -> None:
    targets = labels()
    inputs = functional.one_hot(targets, CLASSES).float()[:, :, None, None].expand(-1, -1, 8, 8)
    augment = augmentation((CLASSES, 8, 8), mixup_alpha=1.0, cutmix_alpha=1.0)
    torch.manual_seed(0)
    blended = [len(augment(inputs, targets)[0].unique()) > 2 for _ in range(40)]
    assert 10 < sum(blended) < 30


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1), (1, 5), (4, 2, 3)])
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_everything_at_once_keeps_shape_and_range(shape: tuple[int, ...], rows: int) -> None:
    keys = COLOR if shape[0] == 3 and len(shape) == 3 else ALL
    augment = augmentation(shape, **keys | {"crop_padding": min(2, *(side - 1 for side in shape[-2:]))})
    extremes = torch.where(images(shape, rows) > 0, HIGH, LOW)
    for _ in range(20):
        after, mixed = augment(extremes, labels(rows))
        assert after.shape == (rows, *shape)
        assert mixed.shape == (rows, CLASSES)
        assert after.min() >= LOW  # and so no NaN
        assert after.max() <= HIGH


def test_images_of_one_value_stay_as_they_are() -> None:
    augment = Augmentation(AugmentConfig(**COLOR), (3, 8, 8), task="classification", classes=CLASSES, low=3.0, high=3.0)
    after, _ = augment(torch.full((4, 3, 8, 8), 3.0), labels(4))
    assert (after == 3).all()


@pytest.fixture
def deterministic() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("deterministic")
def test_the_same_state_of_torchs_generator_gives_the_same_batches_bit_for_bit() -> None:
    inputs, targets = images((3, 9, 7)), labels()
    batches: list[Tensor] = []
    for threads, seed in ((1, 5), (1, 5), (2, 5), (1, 6)):
        random.seed(len(batches))
        np.random.seed(len(batches))  # noqa: NPY002  the global state, which must not matter
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        others = (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]  # noqa: NPY002
        augment = augmentation((3, 9, 7), **COLOR)
        made = [augment(inputs, targets) for _ in range(4)]
        assert others == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]  # noqa: NPY002
        batches.append(torch.stack([torch.cat([after.flatten(), mixed.flatten()]) for after, mixed in made]))
    first, again, more_threads, other_seed = batches
    assert torch.equal(first, again)
    assert torch.equal(first, more_threads)
    assert not torch.isclose(first, other_seed).all(1).any()
    assert not torch.equal(first[0], first[1])


def test_a_batch_on_a_device_is_changed_there() -> None:
    augment = augmentation((3, 8, 8), **COLOR)
    for _ in range(6):  # mixup and cutmix
        after, mixed = augment(torch.empty(5, 3, 8, 8, device="meta"), torch.empty(5, dtype=torch.int64, device="meta"))
        assert after.device == mixed.device == torch.device("meta")


@pytest.mark.parametrize(
    ("shape", "task", "keys", "line"),
    [
        ((30,), "classification", {"erase": 0.5}, "augment.erase: 0.5 is for images, and a row has the shape (30,)"),
        ((30,), "regression", {"flip_vertical": 1.0}, "augment.flip_vertical: 1.0 is for images"),
        ((8, 8), "classification", {"hue": 0.1}, "augment.hue: 0.1 is for images of 3 channels, and these have 1"),
        (
            (2, 8, 8),
            "classification",
            {"saturation": 0.1},
            "augment.saturation: 0.1 is for images of 3 channels, and these have 2",
        ),
        ((3, 8, 6), "classification", {"crop_padding": 6}, "augment.crop_padding: 6 must be below height and width"),
        ((8, 8), "regression", {"cutmix_alpha": 1.0}, "augment.cutmix_alpha: 1.0 mixes classes, and the task is regression"),
    ],
)
def test_what_rows_have_no_use_for_is_refused_by_its_key(shape: tuple[int, ...], task: Task, keys: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        augmentation(shape, task=task, mixup_alpha=0.2, **keys)
    (said,) = caught.value.lines
    assert said.startswith(line)


def test_a_table_is_refused_every_key_but_mixup_at_once() -> None:
    with pytest.raises(UserError) as caught:
        augmentation((30,), **COLOR)
    assert {line.split(":")[0] for line in caught.value.lines} == {f"augment.{key}" for key in COLOR} - {"augment.mixup_alpha"}
    assert set(COLOR) == set(AugmentConfig.model_fields)


def test_kornia_is_imported_only_where_it_is_used() -> None:
    code = "import sys, pipeline.data.augmentation; assert 'kornia' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
