"""What the image models share."""

from torch import nn

from pipeline.errors import UserError


def as_channels(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image row, which may lack the channels."""
    if len(shape) == 2:
        return (1, *shape)
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    raise UserError(f"model: this one takes images, and a row has the shape {shape}; for tables set model.name=mlp")


def conv(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalization, which makes a bias redundant, and ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
