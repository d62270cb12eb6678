"""The weights of the k best epochs, a file each."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pipeline.models.registry import Architecture
from pipeline.training.weights import dump
from serving.files import write_atomic

if TYPE_CHECKING:
    from pipeline.training.state import FitState


class TopEpochs:
    """Holds the k best epochs in memory and writes `epoch-0012.pt` files when told to."""

    def __init__(self, folder: Path, count: int, *, maximize: bool) -> None:
        """Keep `count` epochs below `folder`, those with the largest monitor, or the smallest."""
        self._folder, self._count, self._sign = folder, count, -1.0 if maximize else 1.0
        self._kept: dict[int, tuple[float, dict[str, Tensor]]] = {}  # epoch -> (monitor, weights)

    def consider(self, state: "FitState", value: float) -> None:
        """Keep the epoch that ended if it is among the best; of equal ones the earlier stays."""
        if not math.isfinite(value):
            return
        order = sorted(self._kept, key=lambda epoch: (self._sign * self._kept[epoch][0], epoch))
        if len(order) == self._count:
            if self._sign * value >= self._sign * self._kept[order[-1]][0]:
                return
            del self._kept[order[-1]]
        self._kept[state.epoch] = value, state.weights()

    def write(self, architecture: Architecture) -> None:
        """Make the folder hold the kept epochs and no others."""
        self._folder.mkdir(exist_ok=True)
        wanted = {self._folder / f"epoch-{epoch:04d}.pt": weights for epoch, (_, weights) in self._kept.items()}
        for path, weights in wanted.items():
            if not path.exists():
                write_atomic(path, dump(architecture, weights))
        for path in self._folder.glob("epoch-*.pt"):
            if path not in wanted:
                path.unlink()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {str(epoch): [value, weights] for epoch, (value, weights) in self._kept.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; files are written again, since they may be of epochs that a resume repeats."""
        for path in self._folder.glob("epoch-*.pt"):
            path.unlink()
        self._kept = {int(epoch): (value, weights) for epoch, (value, weights) in state.items()}
