"""What every contender trains: a tabular network and two image networks, on made rows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.cnn import Cnn
from pipeline.models.mlp import Mlp


@dataclass(frozen=True)
class Job:
    """What is trained."""

    name: str
    net: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    batch_size: int
    regression: bool

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return (
            functional.mse_loss(outputs.squeeze(1), targets) if self.regression else functional.cross_entropy(outputs, targets)
        )


def jobs() -> list[Job]:
    """Return the tabular network and the two image networks; rows are made, since only speed is measured."""
    torch.manual_seed(0)
    table, digits, large = torch.randn(16512, 8), torch.randn(1168, 8, 8), torch.randn(4000, 28, 28)
    return [
        Job("tabular MLP 8-24-12-6-1, 16512 rows", lambda: Mlp((8,), 1, hidden=(24, 12, 6)), table, table.sum(1), 32, True),
        _pictures("digits CNN, 1168 rows of 8x8", digits, 32, channels=(32, 64), hidden=128),
        _pictures("CNN, 4000 rows of 28x28", large, 64, channels=(8, 16), hidden=64),
    ]


def _pictures(name: str, rows: Tensor, batch: int, *, channels: tuple[int, ...], hidden: int) -> Job:
    """Return ten classes of pictures, (rows, height, width)."""
    shape = tuple(rows.shape[1:])
    return Job(
        name,
        lambda: Cnn(shape, 10, channels=channels, hidden=hidden, dropout=0.3),
        rows,
        rows.flatten(1)[:, :10].argmax(1),
        batch,
        False,
    )
