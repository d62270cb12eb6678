"""The two networks: the digits CNN of configs/digits.yaml, and a ResNet on the same digits enlarged to 3x32x32."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parent.parent.parent
WORDS = ("export.variants=[train, prune]", "benchmark.batch_sizes=[1, 32]")
ONNX = ("export.formats=[onnx]", "quantize.formats=[onnx]")
_RESNET = """\
data: {{source: arrays, path: {path}}}
model: {{name: resnet, channels: [64, 128], blocks: 1}}
train: {{epochs: 15, lr: 2e-3}}
prune: {{epochs: 15, lr: 2e-3}}
"""


@dataclass(frozen=True)
class Net:
    """A network: how many folds it is made on (1: one split, whose test rows are held out), and the words of its recipe.

    against_onnx: whether its ratios against the float ONNX file have targets.
    """

    folds: int
    words: tuple[str, ...]
    against_onnx: bool = False

    def words_of(self, fold: int) -> tuple[str, ...]:
        """Return the words of a fold. Those after the first leave TorchScript out: no target is about it, and it takes time."""
        return (*WORDS, *(ONNX if fold else ()), *self.words)


# Validation rows: one that is lost of 345 bounds the drop by 1 point, of the 2 that select.max_drop allows.
# Bytes: an eighth of the float checkpoint's; what is pruned is no more than that asks for, as found on split seeds 10 to 14
# (docs/compression.md), of which none is measured here.
NETS = {
    "digits": Net(5, ("prepare.validation_fraction=0.3", "prune.amount=0.4", "select.max_bytes=100000")),
    "resnet": Net(1, ("prepare.validation_fraction=0.2", "prepare.test_fraction=0.4", "select.max_bytes=150000"), True),
}


def write_config(net: str, folder: Path) -> Path:
    """Return the config of a network; enlarge the digits, to a file in `folder`, where it needs that."""
    if net == "digits":
        return ROOT / "configs" / "digits.yaml"
    digits = load_digits()
    small = torch.from_numpy(digits.images.astype(np.float32)).unsqueeze(1)  # (rows, 1, 8, 8), values 0 to 16
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    np.savez(folder / "digits32.npz", inputs=large.numpy(), targets=digits.target)
    (folder / "resnet.yaml").write_text(_RESNET.format(path=folder / "digits32.npz"))
    return folder / "resnet.yaml"
