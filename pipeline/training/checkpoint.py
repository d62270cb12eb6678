"""Best and last checkpoint, written atomically, loaded with `weights_only=True`.

`best.pt` holds an architecture and weights and nothing else, so that two runs with one seed give identical bytes. `last.pt`
holds everything that a resume needs. While training runs, `previous.pt` is the last but one. `checkpoints.jsonl` gets the
digest of each checkpoint before it is written: a flipped bit loads without an error, and a resume must not start from one.
"""

import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor

from pipeline.artifacts import Model
from pipeline.errors import Interrupted, NonFiniteLoss, UserError
from pipeline.models.registry import Architecture
from pipeline.training.early_stopping import EarlyStopping, monitored
from pipeline.training.hooks import Hook
from pipeline.training.interrupt import Interrupt
from pipeline.training.top_epochs import TopEpochs
from pipeline.training.weights import bytes_of, dump
from serving.files import FileRecord, sha256_of, write_atomic

if TYPE_CHECKING:
    from pipeline.training.state import FitState

PREVIOUS, LEDGER, TOP = "previous.pt", "checkpoints.jsonl", "top"


class Checkpoints(Hook):
    """Keeps the best weights in memory; writes both files every so many seconds, when interrupted, and at the end."""

    def __init__(
        self,
        folder: Path,
        architecture: Architecture,
        early_stopping: EarlyStopping,
        *,
        every_s: float,
        keep_top: int = 1,
        interrupt: Interrupt | None = None,
        origin: dict[str, Any] | None = None,
        choices: dict[str, Any] | None = None,
    ) -> None:
        """Write below `folder`.

        early_stopping: judges each epoch, and stands before this hook in the list. keep_top: best epochs that stay on disk.
        interrupt: asks for a last write. origin: what a resume must find unchanged. choices: what `auto` chose, for a resume.
        """
        self._folder, self._architecture, self._early_stopping = folder, architecture, early_stopping
        self._every_s, self._written = every_s, time.monotonic()
        self._interrupt, self._origin, self._choices = interrupt or Interrupt(), origin or {}, choices or {}
        self._best: dict[str, Tensor] | None = None
        self._best_is_new = False
        self._top = TopEpochs(folder / TOP, keep_top, maximize=early_stopping.mode == "max") if keep_top > 1 else None

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on with the best weights of a checkpoint, which are written again."""
        self._best, self._best_is_new = content["best"], content["best"] is not None
        if self._top is not None and content["top"] is not None:
            self._top.load_state_dict(content["top"])

    def on_batch_end(self, state: "FitState") -> None:
        """Write when it is time; write and raise Interrupted when a signal came."""
        self._write_when_due(state)

    def on_epoch_end(self, state: "FitState") -> None:
        """Remember the weights when the epoch was the best; then as after a batch."""
        if self._early_stopping.improved:
            self._best, self._best_is_new = state.weights(), True
        if self._top is not None:
            self._top.consider(state, monitored(state.history[-1], self._early_stopping.monitor))
        self._write_when_due(state)

    def on_fit_end(self, state: "FitState") -> None:
        """Write both files; raise NonFiniteLoss when no epoch had a finite monitor."""
        if self._best is None:
            raise NonFiniteLoss(f"train: {self._early_stopping.monitor} was never finite, so no epoch is best; lower train.lr")
        self.write(state)
        (self._folder / PREVIOUS).unlink(missing_ok=True)

    def write(self, state: "FitState") -> None:
        """Write the best checkpoint if it is new, then the last one; each stays until its successor is whole."""
        if self._best_is_new and self._best is not None:
            write_atomic(self._folder / Model.BEST, dump(self._architecture, self._best))
            self._best_is_new = False
        if self._top is not None:
            self._top.write(self._architecture)
        content = {
            "origin": self._origin,
            "fit": state.state_dict(),
            "early_stopping": self._early_stopping.state_dict(),
            "best": self._best,
            "top": self._top.state_dict() if self._top else None,
            "choices": self._choices,
        }
        payload = bytes_of(content)
        self._list(payload)
        last, previous = self._folder / Model.LAST, self._folder / PREVIOUS
        if last.exists():
            link = previous.with_suffix(".link")
            link.unlink(missing_ok=True)
            link.hardlink_to(last)
            link.replace(previous)
        write_atomic(last, payload)
        self._written = time.monotonic()

    def _write_when_due(self, state: "FitState") -> None:
        if self._interrupt.signal is not None:
            self.write(state)
            raise Interrupted(
                f"train: stopped by {self._interrupt.signal} in epoch {state.epoch} after step {state.step}, which is saved; "
                f"go on with: python -m pipeline train --resume --run {self._folder.parent.name}"
            )
        if time.monotonic() - self._written >= self._every_s:
            self.write(state)

    def _list(self, payload: bytes) -> None:
        path, line = self._folder / LEDGER, msgspec.json.encode(FileRecord(sha256_of(payload), len(payload))) + b"\n"
        # Written through to the disk: a checkpoint whose line a power cut took would count as damaged.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC, 0o644)
        try:
            os.write(handle, line)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            os.close(handle)


def load_last(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Return the content of the last good checkpoint, and why the newest one was passed over, if it was.

    Raises UserError when there is none.
    """
    listed = _listed(folder)
    reasons = []
    for name in (Model.LAST, PREVIOUS):
        path = folder / name
        if not path.is_file():
            reasons.append(f"{name} is missing")
            continue
        payload = path.read_bytes()
        if sha256_of(payload) not in listed:
            reasons.append(f"{name} is damaged: its sha256 {sha256_of(payload)} was never written")
            continue
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return content, "; ".join(reasons) or None
    raise UserError(f"{folder}: nothing to resume from: {'; '.join(reasons)}; train again without --resume")


def _listed(folder: Path) -> set[str]:
    """Return the digests that were written; a line that was cut off by a crash counts for nothing."""
    try:
        lines = (folder / LEDGER).read_bytes().splitlines()
    except FileNotFoundError:
        return set()
    return {msgspec.json.decode(line, type=FileRecord).sha256 for line in lines if line.endswith(b"}")}
