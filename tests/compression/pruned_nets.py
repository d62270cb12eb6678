"""Networks that tests prune, and a user's own file with a residual model."""

import torch
from torch import Tensor, nn

from pipeline.models.cnn import Cnn
from pipeline.models.embeddings import Embedded
from pipeline.models.mlp import Mlp
from pipeline.models.resnet import Resnet

RESIDUAL = b"""
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.spread = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Linear(width, 8), nn.Linear(8, width)

    def forward(self, inputs):
        out = self.norm(self.mix(functional.relu(self.spread(inputs))))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(out.mean((2, 3))))))
        out = out * gate.unsqueeze(2).unsqueeze(3)
        inputs = inputs + out
        return functional.silu(inputs)


class Residual(nn.Module):
    def __init__(self, input_shape, outputs, width=16):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.side = nn.Conv2d(1, width // 2, 3, padding=1)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.down = nn.Conv2d(width + width // 2, width, 3, stride=2, padding=1)
        self.out = nn.Linear(width * 16, outputs)

    def forward(self, inputs):
        image = inputs.unsqueeze(1)
        out = self.stem(image)
        for block in self.blocks:
            out = block(out)
        out = torch.cat([out, torch.tanh(self.side(image))], dim=1)
        out = functional.gelu(self.down(out))
        return self.out(out.reshape(out.size(0), -1))
"""


def residual(width: int = 16) -> nn.Module:
    space: dict[str, type[nn.Module]] = {}
    exec(RESIDUAL, space)  # type: ignore[call-overload, unused-ignore]
    return space["Residual"](input_shape=(8, 8), outputs=3, width=width)


def nets() -> dict[str, tuple[nn.Module, Tensor]]:
    """Return each network, in eval mode, with statistics of batches behind it, and rows for it."""
    torch.manual_seed(0)
    codes = torch.cat([torch.randn(6, 4), torch.randint(0, 5, (6, 1)).float(), torch.randint(0, 3, (6, 1)).float()], dim=1)
    found = {
        "mlp": (Mlp((8, 8), 3, hidden=[24, 12], dropout=0.1), torch.randn(6, 8, 8)),
        "cnn": (Cnn((7, 6), 3, channels=[8, 12], hidden=10), torch.randn(6, 7, 6)),
        "resnet": (Resnet((2, 8, 8), 3, channels=[8, 12], blocks=2), torch.randn(6, 2, 8, 8)),
        "embedded": (Embedded(Mlp((14,), 3, hidden=[8]), ((5, 6), (3, 4))), codes),
        "custom": (residual(), torch.randn(6, 8, 8)),
    }
    with torch.no_grad():
        for net, inputs in found.values():
            for _ in range(3):
                net.train()(inputs)
            for tensor in [p for p in net.parameters() if p.ndim == 1]:
                tensor.add_(torch.randn_like(tensor) / 4)  # neither scales of one nor biases of zero
            net.eval()
    return found
