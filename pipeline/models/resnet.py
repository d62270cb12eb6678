"""Small residual network for images (He et al. 2016, "Deep Residual Learning for Image Recognition")."""

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.models.images import as_channels, conv


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        """before, after: channels. stride: 2 halves the image."""
        super().__init__()
        self.body = nn.Sequential(
            conv(before, after, stride=stride), nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        )
        same = before == after and stride == 1
        projection = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut: nn.Module = nn.Identity() if same else projection
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, before, height, width) -> (batch, after, height / stride, width / stride)."""
        out: Tensor = self.activation(self.body(inputs) + self.shortcut(inputs))
        return out


class Resnet(nn.Module):
    """A stem, groups of residual blocks, global average pooling and one linear layer."""

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, channels: Sequence[int], blocks: int, dropout: float = 0.0
    ) -> None:
        """input_shape: (height, width) or (channels, height, width). channels: of each group of `blocks` blocks."""
        super().__init__()
        self.image_shape = as_channels(input_shape)
        layers: list[nn.Module] = [conv(self.image_shape[0], channels[0])]
        before = channels[0]
        for group, after in enumerate(channels):
            for block in range(blocks):
                layers.append(ResidualBlock(before, after, stride=2 if group and not block else 1))
                before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(before, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, *input_shape) -> (batch, outputs)."""
        out: Tensor = self.head(self.features(inputs.reshape(-1, *self.image_shape)))
        return out
