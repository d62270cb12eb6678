"""Trainings beside the one of the `train` stage: of folds, of pruned networks, of students, with rounded weights.

varied_config = varied(config, train=retimed(config.train, epochs=5, lr=1e-4))
parts = assemble(varied_config, prepared, source=source, given=(architecture, net))
found = retrain(varied_config, parts, out=folder, source=source, tracker=tracker, interrupt=interrupt)
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from pipeline.artifacts import Model
from pipeline.config import Config
from pipeline.config.section import Section
from pipeline.config.train_sections import TrainConfig
from pipeline.errors import GateRefused, Interrupted, NonFiniteLoss, UserError
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.fitting import fit_assembled
from pipeline.training.hooks import Hook
from pipeline.training.interrupt import Interrupt
from pipeline.training.loop import measure
from pipeline.training.report import Report
from pipeline.training.setup import early_stopping_of
from pipeline.training.weights import load

_TOLERANCE = 1e-4  # relative: the re-loaded network has another memory order, so its sums differ in their last bits
_MODEL_KEY = re.compile(r"\bmodel\.(?=\w+=)")  # as in "set model.name=mlp"


@dataclass(frozen=True)
class Retrained:
    """What a training gave.

    net: of the best epoch, read back from its file, in eval mode, on the CPU. validation: its loss and metrics on the
    validation rows, measured when it was read back. history: a line for each epoch. stop_reason: why there was no further one.
    """

    net: nn.Module
    validation: dict[str, float]
    history: list[dict[str, Any]]
    best_epoch: int
    stop_reason: str | None

    @property
    def best(self) -> dict[str, Any]:
        """The line of the best epoch."""
        return self.history[self.best_epoch - 1]


def retrain(
    config: Config,
    parts: Assembly,
    *,
    out: Path,
    source: bytes | None,
    tracker: Tracker,
    interrupt: Interrupt,
    hooks: Sequence[Hook] = (),
) -> Retrained:
    """Train `parts` to its end, and write best.pt, last.pt and history.jsonl into `out`.

    hooks: stand before those that judge and keep. Raises Interrupted after a signal, GateRefused when the best checkpoint, read
    back, scores other than its epoch did, and what `fit_assembled` raises.
    """
    stopping = early_stopping_of(config.train.early_stopping)
    keep = Checkpoints(out, parts.architecture, stopping, every_s=math.inf, interrupt=interrupt)
    report = Report(out / Model.HISTORY, tracker, batches=len(parts.rows.train))
    try:
        fit_assembled(config, parts, [*hooks, stopping, report, keep])
    except Interrupted as error:  # its words are of a training that can go on in the middle
        raise Interrupted(f"{tracker.stage}: stopped by {interrupt.signal}; give the command again to start it anew") from error
    net, validation = read_back(parts, stopping.best_epoch, out, source=source, stage=tracker.stage)
    return Retrained(net.cpu(), validation, parts.state.history, stopping.best_epoch, parts.state.stop)


def read_back(
    parts: Assembly, epoch: int, out: Path, *, source: bytes | None, stage: str
) -> tuple[nn.Module, dict[str, float]]:
    """Return the network of the best checkpoint in `out`, on the training's device, and its numbers on the validation rows.

    epoch: the best one. Raises GateRefused unless the network scores what that epoch scored.
    """
    net = load((out / Model.BEST).read_bytes(), source=source).to(parts.device)
    validation = measure(net, parts.rows.validation, parts.objective)
    found, reported = validation["loss"], parts.state.history[epoch - 1]["val/loss"]
    if not abs(found - reported) <= _TOLERANCE * max(abs(reported), _TOLERANCE):
        raise GateRefused(
            f"{stage}: {Model.BEST}, read back, has val/loss {found:.6g}, and epoch {epoch} had {reported:.6g}: the network's "
            "answers depend on more than its weights and its input; look for random numbers in eval mode, and for state that "
            "is no parameter and no buffer"
        )
    return net, validation


def retimed(train: TrainConfig, *, epochs: int | None, lr: float | None) -> TrainConfig:
    """Return the settings for a training of so many epochs at this rate: dates of the schedule keep their share of the whole.

    None: as many epochs, or the learning rate, of `train`. What belongs to the `train` stage alone is off: folds, sanity checks
    and the weights of further epochs.
    """
    epochs, lr = epochs or train.epochs, lr or train.lr
    share, schedule = epochs / train.epochs, train.schedule
    dates = {
        "warmup_epochs": schedule.warmup_epochs * share,
        "step_epochs": max(1, round(schedule.step_epochs * share)),
        "milestones": tuple(max(1, round(date * share)) for date in schedule.milestones),
        "min_lr": min(schedule.min_lr, lr),
    }
    own = {"epochs": epochs, "lr": lr, "schedule": schedule.model_copy(update=dates)}
    return train.model_copy(update=own | {"folds": None, "sanity": False, "keep_top": 1})


@contextmanager
def told_as(stage: str, *, model: str = "model") -> Iterator[None]:
    """Name a stage and its keys where training names the `train` stage and `train.lr`.

    model: the key whose network is trained, named where training names `model`.
    """
    try:
        yield
    except UserError as error:
        raise UserError(*(_named(line, model) for line in error.lines)) from error
    except NonFiniteLoss as error:
        lines = (line.replace("train: ", f"{stage}: ", 1).replace("train.lr", f"{stage}.lr") for line in error.lines)
        raise NonFiniteLoss(*lines) from error


def _named(line: str, model: str) -> str:
    if not line.startswith(("model:", "model.")):
        return line
    return model + _MODEL_KEY.sub(f"{model}.", line.removeprefix("model"))


def varied(config: Config, **sections: Section) -> Config:
    """Return a config with some sections replaced, which may be one that shows a stage its own sections alone."""
    return cast("Config", _Varied(config, sections))


class _Varied:
    """Another config, but for some sections."""

    def __init__(self, config: Config, sections: dict[str, Section]) -> None:
        self._config, self._sections = config, sections

    def __getattr__(self, name: str) -> Any:
        return self._sections[name] if name in self._sections else getattr(self._config, name)

    def section(self, name: str) -> Any:
        """Return a section as plain JSON-ready values."""
        if name in self._sections:
            return self._sections[name].model_dump(mode="json", by_alias=True)
        return self._config.section(name)
