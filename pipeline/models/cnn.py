"""Convolutional network for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.models.images import as_channels, conv


class Cnn(nn.Module):
    """Blocks of two 3x3 convolutions with batch normalization; the image is halved between blocks."""

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, channels: Sequence[int], hidden: int, dropout: float = 0.0
    ) -> None:
        """input_shape: (height, width) or (channels, height, width). channels: of each block."""
        super().__init__()
        depth, height, width = as_channels(input_shape)
        self.image_shape = (depth, height, width)
        blocks: list[nn.Module] = []
        for index, after in enumerate(channels):
            if index:
                blocks.append(nn.MaxPool2d(2, ceil_mode=True))
                height, width = -(-height // 2), -(-width // 2)
            blocks += [conv(depth, after), conv(after, after)]
            depth = after
        self.features = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(depth * height * width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, *input_shape) -> (batch, outputs)."""
        out: Tensor = self.head(self.features(inputs.reshape(-1, *self.image_shape)))
        return out
