"""Random changes of train rows, batch by batch, on the device where the batch is. The only file that imports kornia.

ends = {"low": schema.minimum, "high": schema.maximum}
augment = Augmentation(config.augment, schema.shape, task=schema.task, classes=schema.outputs, **ends)
inputs, targets = augment(inputs, targets)  # raw units in, raw units out

Every random number comes from torch's generator of the CPU, whose state a checkpoint holds, and each row has its own: the same
state gives the same batch, bit for bit. Of kornia only functions are used, which draw nothing; its modules take two to three
times as long.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional

from pipeline.config.augment_sections import AugmentConfig
from pipeline.errors import UserError
from serving.schema import Feature, Task

_COLORS = ("brightness", "contrast", "saturation", "hue")  # in this order
_ERASED_SHARE = (0.02, 0.33)  # of the image's area; both as in torchvision
_ERASED_LOG_ASPECT = (math.log(0.3), math.log(3.3))  # of height / width


@dataclass(frozen=True)
class _Step:
    """One change of images.

    numbers: how many random ones it takes for a row. change: (images (batch, channels, height, width) raw, draws
    (numbers, batch) uniform in [0, 1)) -> images of the same shape.
    """

    numbers: int
    change: Callable[[Tensor, Tensor], Tensor]


class Augmentation:
    """Changes a batch as configured: crop, flips, affine map, colors, erased rectangle, then mixup or cutmix.

    Call it outside of autocast, which would round the maps of coordinates.
    """

    def __init__(
        self,
        config: AugmentConfig,
        shape: tuple[int, ...],
        *,
        task: Task,
        classes: int,
        low: float,
        high: float,
        features: Sequence[Feature] = (),
    ) -> None:
        """Raise UserError with a line for each key that such rows have no use for.

        shape: of a row, (columns,), (height, width) or (channels, height, width). classes: read for classification alone. low,
        high: range of the train rows; `low` is the darkest value, which fills borders and blanks. features: of a table.
        """
        _refuse(config, shape, task, features)
        self._steps = _steps(config, low=low, span=high - low or 1.0)  # images of one value have no span to divide by
        self._numbers = [step.numbers for step in self._steps]
        self._mixes = _mixes(config)
        self._classes = classes if task == "classification" else None
        self._range = (low, high)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed inputs and their targets; the very same tensors where nothing is on.

        inputs: (batch, *shape) float32, raw. targets: (batch,) int64 classes or float32 values, or (batch, n) float32 labels or
        values; where rows are mixed, classes come back as float32 probabilities (batch, classes), and labels between 0 and 1.
        """
        if not self._steps and not self._mixes:
            return inputs, targets
        rows = inputs.unsqueeze(1) if inputs.ndim == 3 else inputs  # (batch, channels, height, width), or (batch, columns)
        draws = torch.rand(sum(self._numbers), len(inputs)).to(inputs.device)  # one copy to the device for all steps
        for step, numbers in zip(self._steps, draws.split(self._numbers), strict=True):
            rows = step.change(rows, numbers)
        if self._mixes:
            chosen = int(torch.randint(len(self._mixes), ())) if len(self._mixes) > 1 else 0
            rows, share = self._mixes[chosen](rows)
            targets = _mixed(targets, share, self._classes)
        rows = rows.clamp(*self._range)  # interpolation rounds
        return rows.squeeze(1) if inputs.ndim == 3 else rows, targets


def _refuse(config: AugmentConfig, shape: tuple[int, ...], task: Task, features: Sequence[Feature]) -> None:
    faults = []
    unmixable = next((feature for feature in features if feature.kind != "number" or feature.nullable), None)
    is_image = len(shape) in (2, 3)
    for key, value in config.model_dump().items():
        if not value:
            continue
        reason = ""
        if not is_image and key != "mixup_alpha":
            reason = f"is for images, and a row has the shape {shape}; set it to 0"
        elif key in ("saturation", "hue") and (len(shape) == 2 or shape[0] != 3):
            reason = f"is for images of 3 channels, and these have {1 if len(shape) == 2 else shape[0]}; set it to 0"
        elif key == "crop_padding" and value >= min(shape[-2:]):
            reason = f"must be below height and width, or a crop can miss the image of {shape[-2]} x {shape[-1]} pixels"
        elif key == "cutmix_alpha" and task == "regression":
            reason = "mixes classes, and the task is regression; set it to 0, or use augment.mixup_alpha"
        elif key == "mixup_alpha" and unmixable is not None:
            what = "may be missing" if unmixable.kind == "number" else f"is a {unmixable.kind}"
            reason = f"mixes numbers that are always there, and column {unmixable.name!r} {what}; set it to 0"
        if reason:
            faults.append(f"augment.{key}: {value} {reason}")
    if faults:
        raise UserError(*faults)


def _steps(config: AugmentConfig, *, low: float, span: float) -> list[_Step]:
    """Return the steps that are on, in the order in which they are applied."""
    steps = []
    if config.crop_padding:
        steps.append(_Step(2, partial(_crop, padding=config.crop_padding, fill=low)))
    if config.flip_horizontal:
        steps.append(_Step(1, partial(_flip, chance=config.flip_horizontal, dim=-1)))
    if config.flip_vertical:
        steps.append(_Step(1, partial(_flip, chance=config.flip_vertical, dim=-2)))
    if config.rotate_degrees or config.translate or config.scale or config.shear_degrees:
        steps.append(_Step(5, partial(_warp, config=config, fill=low)))
    amounts = {color: amount for color in _COLORS if (amount := getattr(config, color))}
    if amounts:
        steps.append(_Step(len(amounts), partial(_recolor, amounts=amounts, low=low, span=span)))
    if config.erase:
        steps.append(_Step(5, partial(_erase, chance=config.erase, fill=low)))
    return steps


def _crop(images: Tensor, draws: Tensor, *, padding: int, fill: float) -> Tensor:
    """Cut the old size out of the padded images, each at its own place."""
    padded = functional.pad(images, [padding] * 4, value=fill)
    # A view of every crop: (batch, channels, tops, lefts, height, width).
    crops = padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    top, left = (draws * (2 * padding + 1)).long()  # (batch,) each, 0 ... 2 * padding
    return crops[torch.arange(len(images), device=images.device), :, top, left]


def _flip(images: Tensor, draws: Tensor, *, chance: float, dim: int) -> Tensor:
    return torch.where(draws.view(-1, 1, 1, 1) < chance, images.flip(dim), images)


def _warp(images: Tensor, draws: Tensor, *, config: AugmentConfig, fill: float) -> Tensor:
    """Rotate, move, scale and shear about the center, in one bilinear interpolation."""
    from kornia.geometry.transform import get_affine_matrix2d, warp_affine

    batch, _, height, width = images.shape
    angle, right, down, size, shear = draws * 2 - 1  # (batch,) each, in [-1, 1)
    matrix = get_affine_matrix2d(  # (batch, 3, 3), in pixels
        translations=torch.stack([right * (config.translate * width), down * (config.translate * height)], dim=1),
        center=images.new_tensor([(width - 1) / 2, (height - 1) / 2]).expand(batch, 2),
        scale=(1 + size * config.scale).unsqueeze(1).expand(batch, 2),
        angle=angle * config.rotate_degrees,
        sx=shear * math.radians(config.shear_degrees) if config.shear_degrees else None,
    )
    return warp_affine(images - fill, matrix[:, :2], (height, width)) + fill  # what lies outside is 0 to kornia


def _recolor(images: Tensor, draws: Tensor, *, amounts: dict[str, float], low: float, span: float) -> Tensor:
    """Scale brightness, contrast about the mean gray and saturation by 1 ± amount, and turn the hue; clipped to the range."""
    from kornia import enhance

    changes = {
        "brightness": enhance.adjust_brightness_accumulative,
        "contrast": enhance.adjust_contrast_with_mean_subtraction,
        "saturation": enhance.adjust_saturation_with_gray_subtraction,
        "hue": enhance.adjust_hue,
    }
    colored = (images - low) / span  # in [0, 1]
    for (color, amount), numbers in zip(amounts.items(), draws * 2 - 1, strict=True):
        by = numbers * (amount * 2 * math.pi) if color == "hue" else 1 + numbers * amount
        colored = changes[color](colored, by)
    return colored * span + low


def _erase(images: Tensor, draws: Tensor, *, chance: float, fill: float) -> Tensor:
    """Blank one rectangle of random size and place that lies within the image (Zhong et al. 2020)."""
    chosen, share, aspect, top, left = draws
    height, width = images.shape[-2:]
    area = _between(_ERASED_SHARE, share) * height * width
    aspect = _between(_ERASED_LOG_ASPECT, aspect).exp()
    rows = (area * aspect).sqrt().round().clamp(1, height)
    columns = (area / aspect).sqrt().round().clamp(1, width)
    places = ((top * (height - rows + 1)).floor(), (left * (width - columns + 1)).floor())
    blank = _rectangles(places, (rows, columns), (height, width)) & (chosen < chance).view(-1, 1, 1, 1)
    return images.masked_fill(blank, fill)


def _between(bounds: tuple[float, float], draws: Tensor) -> Tensor:
    return bounds[0] + draws * (bounds[1] - bounds[0])


def _rectangles(places: tuple[Tensor, Tensor], sizes: tuple[Tensor, Tensor], image: tuple[int, int]) -> Tensor:
    """Return (batch, 1, height, width) bool, true inside. places: top and left; sizes: height and width, (batch,) each."""
    inside = []
    for place, size, length in zip(places, sizes, image, strict=True):
        distance = torch.arange(length, device=place.device) - place.unsqueeze(1)
        inside.append((distance >= 0) & (distance < size.unsqueeze(1)))
    return (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).unsqueeze(1)


def _mixes(config: AugmentConfig) -> list[Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Return the ways of mixing that are on: rows (batch, …) -> mixed rows, and the share (batch,) of each row's partner.

    The partner is the row before. Batches are shuffled, so that is a random one.
    """
    mixes: list[Callable[[Tensor], tuple[Tensor, Tensor]]] = []
    if config.mixup_alpha:
        mixes.append(partial(_mixup, beta=Beta(config.mixup_alpha, config.mixup_alpha)))
    if config.cutmix_alpha:
        mixes.append(partial(_cutmix, beta=Beta(config.cutmix_alpha, config.cutmix_alpha)))
    return mixes


def _mixup(rows: Tensor, *, beta: Beta) -> tuple[Tensor, Tensor]:
    """Add a share of the partner's values (Zhang et al. 2018)."""
    share = beta.sample((len(rows),)).to(rows.device)
    return rows.lerp(rows.roll(1, 0), share.view(-1, *[1] * (rows.ndim - 1))), share


def _cutmix(images: Tensor, *, beta: Beta) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of the partner, cut off at the border; the share is the area that was pasted (Yun et al. 2019)."""
    height, width = images.shape[-2:]
    side = beta.sample((len(images),)).to(images.device).sqrt()
    rows, columns = (side * height).round(), (side * width).round()
    middle = torch.rand(2, len(images)).to(images.device)
    places = ((middle[0] * height - rows / 2).floor(), (middle[1] * width - columns / 2).floor())
    pasted = _rectangles(places, (rows, columns), (height, width))
    return torch.where(pasted, images.roll(1, 0), images), pasted.float().mean(dim=(1, 2, 3))


def _mixed(targets: Tensor, share: Tensor, classes: int | None) -> Tensor:
    """Return the targets mixed like their rows: classes as probabilities (batch, classes), others in the shape they have."""
    certain = targets if classes is None else functional.one_hot(targets, classes).float()
    return certain.lerp(certain.roll(1, 0), share.unsqueeze(1) if certain.ndim == 2 else share)
