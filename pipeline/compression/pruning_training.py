"""The rows, the loss and the short trainings between cuts."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from torch import Tensor, nn

from pipeline.artifacts import Model, Prepared
from pipeline.compression.distillation import Lesson, placed, taught
from pipeline.compression.importance import changes_of_loss
from pipeline.compression.sparsity import KeepZeros, Masks
from pipeline.compression.statistics import renew_statistics
from pipeline.config import Config
from pipeline.errors import GateRefused, UserError
from pipeline.models.registry import Architecture, build
from pipeline.models.resized import changed_shapes
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.interrupt import Interrupt
from pipeline.training.loop import measure
from pipeline.training.retraining import Retrained, retimed, retrain, told_as, varied
from pipeline.training.setup import early_stopping_of

_EXAMPLES = 8
_TEMPERATURE = 4.0  # as distill has by default; at 1 a teacher gave hardly more than the labels (docs/compression.md)


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
        self._teacher = copy.deepcopy(net)
        self.history: list[dict[str, Any]] = []
        self._untold: tuple[Assembly, Retrained] | None = None

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

    def renewed(self, net: nn.Module) -> nn.Module:
        """Return a copy, in eval mode, on the CPU, whose batch normalization has the statistics of what reaches it now."""
        there = self._there(net)
        renew_statistics(there, self._parts.rows.plain, seed=self._config.seed)
        return there.cpu()

    def architecture_of(self, net: nn.Module) -> Architecture:
        """Return how a network that was cut is built."""
        return msgspec.structs.replace(self._architecture, shapes=changed_shapes(self._whole, net))

    def begin(self, what: str) -> None:
        """Show what is worked on."""
        self._tracker.event("working_on", what=what)

    def trained(self, net: nn.Module, *, step: int, last: bool, masks: Masks | None = None) -> nn.Module:
        """Return the network of the best epoch, in eval mode, on the CPU. masks: of weights that stay zero.

        step: number of the cut before it, noted in each line of the history. last: whether epochs are told to the tracker,
        where those of other trainings would stand under the same numbers. Raises GateRefused when a cut network, without
        `masks`, cannot be trained, which the whole one could.
        """
        section = self._config.prune
        if not section.epochs:
            return copy.deepcopy(net).eval()
        config = varied(self._config, train=retimed(self._config.train, epochs=section.epochs, lr=section.lr))
        with told_as("prune"), TemporaryDirectory(dir=self._out, prefix="step-") as scratch:
            parts = self._assembled(config, net, is_cut=masks is None)
            if last:
                self._tell_start(parts, {"rows": parts.rows.train.rows, "batches": len(parts.rows.train)})
            found = retrain(
                config,
                self._with_teacher(parts),
                out=Path(scratch),
                source=self._source,
                tracker=self._tracker if last else Tracker(self._tracker.stage),
                interrupt=self._interrupt,
                hooks=[KeepZeros(masks)] if masks else [],
            )
        self.history += [{"prune_step": step, **line} for line in found.history]
        self._untold = None if last else (parts, found)
        return found.net

    def tell_last(self) -> None:
        """Tell the tracker the epochs of the training that came last, unless it was told them as they were computed."""
        if self._untold is None:
            return
        parts, found = self._untold
        self._tell_start(parts, {})  # without rows: the time of telling gives no speed
        for line in found.history:
            self._tracker.metrics({name: value for name, value in line.items() if name != "epoch"}, step=line["epoch"])
        self._untold = None

    def _assembled(self, config: Config, net: nn.Module, *, is_cut: bool) -> Assembly:
        try:
            given = self.architecture_of(net), copy.deepcopy(net)
            return assemble(config, self._prepared, source=self._source, given=given)
        except UserError as error:
            line = error.lines[0]
            if not is_cut or not line.startswith("model: "):
                raise
            raise GateRefused(
                f"prune: without the channels {line.removeprefix('model: ')}; so forward() depends on widths in a way that was "
                "not seen; set prune.method=unstructured"
            ) from error

    def _with_teacher(self, parts: Assembly) -> Assembly:
        """Return the training with the whole network beside the one that is trained."""
        weight = self._config.prune.teacher_weight
        if not weight:
            return parts
        teacher = placed(self._teacher, parts.device, channels_last=self._config.train.channels_last)
        return taught(parts, teacher, Lesson(_TEMPERATURE, weight))

    def _tell_start(self, parts: Assembly, size: dict[str, int]) -> None:
        stopping = early_stopping_of(self._config.train.early_stopping)
        self._tracker.event(
            "work_started",
            steps=self._config.prune.epochs,
            device=self.device,
            parameters=sum(p.numel() for p in parts.state.net.parameters()),
            best=stopping.monitor,
            mode=stopping.mode,
            **size,
        )

    def write_history(self) -> None:
        """Write a line for each epoch of each training."""
        lines = [msgspec.json.encode(line) + b"\n" for line in self.history]
        (self._out / Model.HISTORY).write_bytes(b"".join(lines))

    def _there(self, net: nn.Module) -> nn.Module:
        return copy.deepcopy(net).to(self._parts.device)
