"""Best and last checkpoint, written atomically, loaded with `weights_only=True`.

`best.pt` holds an architecture and weights and nothing else, so that two runs with one seed give identical bytes. `last.pt`
holds everything that a resume needs.
"""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn

from pipeline.artifacts import Model
from pipeline.errors import NonFiniteLoss
from pipeline.models.registry import Architecture, build
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.hooks import Hook
from serving.files import write_atomic

if TYPE_CHECKING:
    from pipeline.training.loop import FitState


class Checkpoints(Hook):
    """Keeps the best weights in memory and writes both files every so many seconds and at the end."""

    def __init__(self, folder: Path, architecture: Architecture, early_stopping: EarlyStopping, *, every_s: float) -> None:
        """early_stopping: judges each epoch, and stands before this hook in the list."""
        self._folder, self._architecture, self._early_stopping = folder, architecture, early_stopping
        self._every_s, self._written = every_s, time.monotonic()
        self._best: dict[str, Tensor] | None = None
        self._best_is_new = False

    def on_epoch_end(self, state: "FitState") -> None:
        """Remember the weights when the epoch was the best; write when it is time."""
        if self._early_stopping.improved:
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in state.net.state_dict().items()}
            self._best_is_new = True
        if time.monotonic() - self._written >= self._every_s:
            self._write(state)

    def on_fit_end(self, state: "FitState") -> None:
        """Write both files; raise NonFiniteLoss when no epoch had a finite monitor."""
        if self._best is None:
            raise NonFiniteLoss(f"train: {self._early_stopping.monitor} was never finite, so no epoch is best; lower train.lr")
        self._write(state)

    def _write(self, state: "FitState") -> None:
        if self._best_is_new and self._best is not None:
            write_atomic(self._folder / Model.BEST, dump(self._architecture, self._best))
            self._best_is_new = False
        last = {
            "epoch": state.epoch,
            "step": state.step,
            "weights": state.net.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "schedule": state.schedule.state_dict(),
            "early_stopping": self._early_stopping.state_dict(),
            "rng": torch.get_rng_state(),
        }
        write_atomic(self._folder / Model.LAST, _bytes_of(last))
        self._written = time.monotonic()


def dump(architecture: Architecture, weights: dict[str, Tensor]) -> bytes:
    """Return the bytes of a checkpoint that `load` builds a network from."""
    return _bytes_of({"architecture": msgspec.to_builtins(architecture), "weights": weights})


def load(payload: bytes, *, source: bytes | None = None) -> nn.Module:
    """Build the network of a checkpoint, in eval mode; `source` is the text of a custom model's file.

    `payload` must be verified first: a flipped bit loads without an error.
    """
    content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    net = build(msgspec.convert(content["architecture"], Architecture), source=source)
    net.load_state_dict(content["weights"])
    return net.eval()


def _bytes_of(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
