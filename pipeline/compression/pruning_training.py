"""The rows, the loss and the short trainings between cuts."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from torch import Tensor, nn

from pipeline.artifacts import Model, Prepared
from pipeline.compression.importance import changes_of_loss
from pipeline.compression.sparsity import KeepZeros, Masks
from pipeline.config import Config
from pipeline.config.train_sections import TrainConfig
from pipeline.models.registry import Architecture, build
from pipeline.models.resized import changed_shapes
from pipeline.tracking import Tracker
from pipeline.training.assembly import assemble
from pipeline.training.interrupt import Interrupt
from pipeline.training.loop import measure
from pipeline.training.retraining import retrain, varied

_EXAMPLES = 8


class Training:
    """Measures networks on validation rows and trains them on, each time from a copy."""

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        architecture: Architecture,
        net: nn.Module,
        *,
        source: bytes | None,
        out: Path,
        tracker: Tracker,
        interrupt: Interrupt,
    ) -> None:
        """architecture: of the whole network `net`. out: has room for checkpoints while a training runs."""
        self._config, self._prepared, self._architecture, self._source = config, prepared, architecture, source
        self._out, self._tracker, self._interrupt = out, tracker, interrupt
        self._whole = build(architecture, source=source)
        self._parts = assemble(config, prepared, source=source, given=(architecture, copy.deepcopy(net)))
        self.history: list[dict[str, Any]] = []

    @property
    def device(self) -> str:
        """Where trainings run."""
        return str(self._parts.device)

    def examples(self) -> Tensor:
        """Return a few validation rows as the network takes them, (rows, *shape), on the CPU."""
        inputs, _ = next(iter(self._parts.rows.validation.in_order()))
        return inputs[:_EXAMPLES].cpu().clone()

    def measured(self, net: nn.Module) -> dict[str, float]:
        """Return loss and metrics on the validation rows."""
        return measure(self._there(net), self._parts.rows.validation, self._parts.objective)

    def changes_of_loss(self, net: nn.Module) -> dict[str, Tensor]:
        """Return what `importance.changes_of_loss` does, of train rows."""
        return changes_of_loss(self._there(net), self._parts.rows.plain, self._parts.objective, seed=self._config.seed)

    def architecture_of(self, net: nn.Module) -> Architecture:
        """Return how a network that was cut is built."""
        return msgspec.structs.replace(self._architecture, shapes=changed_shapes(self._whole, net))

    def trained(self, net: nn.Module, *, step: int, last: bool, masks: Masks | None = None) -> nn.Module:
        """Return the network of the best epoch, in eval mode, on the CPU. masks: of weights that stay zero.

        step: number of the cut before it, noted in each line of the history. last: whether epochs are told to the tracker,
        where those of other trainings would stand under the same numbers.
        """
        section = self._config.prune
        if not section.epochs:
            return copy.deepcopy(net).eval()
        config = varied(self._config, train=shortened(self._config.train, epochs=section.epochs, lr=section.lr))
        given = self.architecture_of(net), copy.deepcopy(net)
        parts = assemble(config, self._prepared, source=self._source, given=given)
        with TemporaryDirectory(dir=self._out, prefix="step-") as scratch:
            found = retrain(
                config,
                parts,
                out=Path(scratch),
                source=self._source,
                tracker=self._tracker if last else Tracker(self._tracker.stage),
                interrupt=self._interrupt,
                hooks=[KeepZeros(masks)] if masks else [],
            )
        self.history += [{"prune_step": step, **line} for line in found.history]
        return found.net

    def write_history(self) -> None:
        """Write a line for each epoch of each training."""
        lines = [msgspec.json.encode(line) + b"\n" for line in self.history]
        (self._out / Model.HISTORY).write_bytes(b"".join(lines))

    def _there(self, net: nn.Module) -> nn.Module:
        return copy.deepcopy(net).to(self._parts.device)


def shortened(train: TrainConfig, *, epochs: int, lr: float) -> TrainConfig:
    """Return the settings for a training of so many epochs: dates of the schedule keep their share of the whole."""
    share, schedule = epochs / train.epochs, train.schedule
    dates = {
        "warmup_epochs": schedule.warmup_epochs * share,
        "step_epochs": max(1, round(schedule.step_epochs * share)),
        "milestones": tuple(max(1, round(date * share)) for date in schedule.milestones),
        "min_lr": min(schedule.min_lr, lr),
    }
    changed = {"epochs": epochs, "lr": lr, "schedule": schedule.model_copy(update=dates), "folds": None, "sanity": False}
    return train.model_copy(update=changed | {"keep_top": 1})
