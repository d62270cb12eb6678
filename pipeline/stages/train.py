"""train: Prepared -> Model."""

import copy
import math
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from pipeline.artifacts import Model, Prepared, Split
from pipeline.config import Config, flatten
from pipeline.config.sections import CustomConfig
from pipeline.errors import UserError
from pipeline.models.deployable import Deployable
from pipeline.models.registry import CUSTOM, Architecture, build
from pipeline.reporting.figures import curves_figure
from pipeline.stages import Outcome, Resume
from pipeline.tracking import Tracker
from pipeline.training import FitState, fit
from pipeline.training.batches import Batches
from pipeline.training.checkpoint import Checkpoints, load_last
from pipeline.training.early_stopping import EarlyStopping, monitored
from pipeline.training.hooks import Hook
from pipeline.training.interrupt import Interrupt
from pipeline.training.objective import Objective, objective_for
from pipeline.training.optimizers import build_optimizer, build_schedule
from pipeline.training.setup import choose_device, make_reproducible
from serving.errors import first_line
from serving.files import write_atomic

_VALIDATION_ROWS = 1024  # in one forward pass


class _Report(Hook):
    """Writes an epoch's numbers into the history and to the tracker."""

    def __init__(self, history: Path, tracker: Tracker) -> None:
        self._history, self._tracker = history, tracker

    def on_epoch_end(self, state: FitState) -> None:
        numbers = state.history[-1]
        with self._history.open("ab") as file:
            file.write(msgspec.json.encode(numbers) + b"\n")  # a number that is not finite becomes null
        self._tracker.metrics({name: value for name, value in numbers.items() if name != "epoch"}, step=state.epoch)


def run(config: Config, prepared: Prepared, *, out: Path, tracker: Tracker, resume: Resume | None = None) -> Outcome:
    """Train `model` on the train rows and keep the epoch that is best on the validation rows."""
    section = config.train
    device = choose_device(section.device)
    make_reproducible(seed=config.seed, threads=section.threads)
    schema = prepared.schema
    source = _custom_source(config, out)
    arguments = config.section("model")
    architecture = Architecture(arguments.pop("name"), schema.shape, schema.outputs, _kept(arguments))
    net = build(architecture, source=source).to(device)
    deployable = Deployable(net, task=schema.task, statistics=prepared.statistics).to(device)

    train = _batches(prepared, "train", deployable, section.batch_size, device)
    validation = _batches(prepared, "validation", deployable, _VALIDATION_ROWS, device)
    objective = objective_for(schema, deployable)
    if not any(p.requires_grad for p in net.parameters()):
        raise UserError("model: it has no parameters to train")
    first = train.bounds()[0][1]
    _try_out(net, (train.inputs[:first], train.targets[:first]), objective, architecture, section.early_stopping.monitor)
    optimizer = build_optimizer(net, section.optimizer, lr=section.lr)
    early = section.early_stopping
    stopping = EarlyStopping(early.monitor, patience=early.patience, min_delta=early.min_delta)
    schedule = build_schedule(optimizer, section.schedule, epochs=section.epochs, monitor=early.monitor)
    state = FitState(net, optimizer, schedule, section.epochs)
    origin = {name: config.section(name) for name in ("seed", "model", "train")} | {"prepared": prepared.digest}

    parameters = sum(p.numel() for p in net.parameters())
    tracker.event("work_started", steps=section.epochs, parameters=parameters, device=str(device))
    with Interrupt() as interrupt:
        every_s = section.checkpoint_every_s
        checkpoints = Checkpoints(out, architecture, stopping, every_s=every_s, interrupt=interrupt, origin=origin)
        if resume is not None:
            _go_on(resume, out, origin, state, stopping, checkpoints, tracker)
        fit(
            state,
            train,
            validation,
            objective,
            seed=config.seed,
            clip_norm=section.clip_norm,
            nonfinite=section.nonfinite,
            hooks=[stopping, _Report(out / Model.HISTORY, tracker), checkpoints],
        )
    tracker.event("training_ended", reason=state.stop, epochs=state.epoch, best_epoch=stopping.best_epoch)
    return _outcome(state, stopping, out, device=device, parameters=parameters, metric=schema.headline)


def _go_on(
    resume: Resume,
    out: Path,
    origin: dict[str, Any],
    state: FitState,
    stopping: EarlyStopping,
    checkpoints: Checkpoints,
    tracker: Tracker,
) -> None:
    """Bring everything to where the last good checkpoint was taken; refuse one that was taken for something else."""
    last, passed_over = load_last(out)
    before, now = flatten(last["origin"]), flatten(origin)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed and not resume.force:
        key = changed[0]
        raise UserError(
            f"train --resume: {key} was {before.get(key)} when the checkpoint was written and is {now.get(key)} now; "
            "set it back, train anew without --resume, or accept it with --force"
        )
    stopping.load_state_dict(last["early_stopping"])
    checkpoints.load_state_dict(last["best"])
    state.load_state_dict(last["fit"])
    write_atomic(out / Model.HISTORY, b"".join(msgspec.json.encode(line) + b"\n" for line in state.history))
    tracker.event("resumed", epoch=state.epoch, batch=state.batch, step=state.step, passed_over=passed_over, changed=changed)


def _outcome(
    state: FitState, stopping: EarlyStopping, out: Path, *, device: torch.device, parameters: int, metric: str
) -> Outcome:
    best = state.history[stopping.best_epoch - 1]
    (out / "plots").mkdir(exist_ok=True)
    title = f"{parameters:,} parameters, stopped by {state.stop} after epoch {state.epoch}"
    curves_figure(out / "plots" / "curves.png", state.history, metric=metric, best_epoch=stopping.best_epoch, title=title)
    summary = (
        f"best {stopping.monitor} {stopping.best_value:.4g}, val/{metric} {best[f'val/{metric}']:.4g} "
        f"at epoch {stopping.best_epoch} of {state.epoch} ({state.stop})"
    )
    metrics = {name: value for name, value in best.items() if "/" in name}
    notes = {"stop_reason": state.stop, "best_epoch": stopping.best_epoch, "epochs": state.epoch, "parameters": parameters}
    return Outcome(summary, metrics=metrics, device=str(device), notes=notes)


def _batches(prepared: Prepared, split: Split, deployable: Deployable, batch_size: int, device: torch.device) -> Batches:
    inputs, targets = prepared.split(split)
    with torch.no_grad():  # normalized once, by the very module that is exported
        normalized: Tensor = deployable.normalize(torch.from_numpy(inputs).to(device))
    return Batches(normalized, torch.from_numpy(targets).to(device), batch_size)


def _custom_source(config: Config, out: Path) -> bytes | None:
    """Copy a custom model's file into the run, so that the run is whole without it."""
    if not isinstance(config.model, CustomConfig):
        return None
    source = Path(config.model.file).read_bytes()  # that it is there was checked when the run was chosen
    write_atomic(out / Model.SOURCE, source)
    return source


def _kept(arguments: dict[str, object]) -> dict[str, object]:
    arguments.pop("file", None)  # its content is in the run
    return arguments


def _try_out(
    net: torch.nn.Module, batch: tuple[Tensor, Tensor], objective: Objective, architecture: Architecture, monitor: str
) -> None:
    """Run one step on a copy, and raise UserError for what a user's model, or a monitor's name, would break only later."""
    inputs, targets = batch
    expected = (len(inputs), architecture.outputs)
    # Dropout of the real first step must not depend on this one.
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        tried = copy.deepcopy(net).train()
        try:
            outputs = tried(inputs)
            if not isinstance(outputs, Tensor) or tuple(outputs.shape) != expected:
                found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
                raise UserError(f"model: forward() of {len(inputs)} rows must return the shape {expected}, it returns {found}")
            objective.loss(outputs, targets).backward()
        except UserError:
            raise
        except Exception as error:
            if architecture.name != CUSTOM:
                raise
            raise UserError(
                f"model: a training step fails on rows of shape {architecture.input_shape}: {first_line(error)}"
            ) from error
    names = {"loss": math.nan, **objective.metrics(outputs.detach(), targets)}
    monitored({f"{split}/{name}": value for split in ("train", "val") for name, value in names.items()}, monitor)
