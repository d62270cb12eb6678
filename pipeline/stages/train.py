"""train: Prepared -> Model."""

import math
from pathlib import Path
from typing import Any

import msgspec

from pipeline.artifacts import Model, Prepared
from pipeline.config import Config, flatten
from pipeline.config.model_sections import CustomConfig
from pipeline.errors import UserError
from pipeline.monitoring import conclude, monitors_for
from pipeline.sanity import check_before_training
from pipeline.stages import Outcome, Resume
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.checkpoint import Checkpoints, load_last
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.fitting import fit_assembled
from pipeline.training.folds import FOLDS, check_folds, cross_validate, summarized
from pipeline.training.interrupt import Interrupt
from pipeline.training.report import Report
from pipeline.training.retraining import read_back
from pipeline.training.setup import early_stopping_of
from pipeline.training.state import FitState
from serving.files import write_atomic

_FIXED = (  # beginnings of keys that a checkpoint has in it, or that `auto` was measured with
    "model",
    "train.optimizer",
    "train.schedule.name",
    "train.batch_size",
    "train.accumulate",
    "train.ema_decay",
    "train.precision",
    "train.channels_last",
    "train.compile",
    "train.threads",
    "train.in_memory",
)


def run(config: Config, prepared: Prepared, *, out: Path, tracker: Tracker, resume: Resume | None = None) -> Outcome:
    """Train `model` on the train rows and keep the epoch that is best on the validation rows."""
    section = config.train
    check_folds(config, prepared, out=out)
    origin = {name: config.section(name) for name in ("seed", "model", "train", "augment")} | {"prepared": prepared.digest}
    last, resumed = _last_checkpoint(resume, out, origin) if resume else (None, {})
    source = _custom_source(config, out)
    parts = assemble(config, prepared, source=source, choices=last["choices"] if last else None)
    check_before_training(parts, config, tracker)
    state = parts.state
    stopping = early_stopping_of(section.early_stopping)
    parameters = sum(p.numel() for p in state.net.parameters())
    tracker.event("choices", **parts.choices)
    size = {"parameters": parameters, "rows": parts.rows.train.rows, "batches": len(parts.rows.train)}
    best = {"best": stopping.monitor, "mode": stopping.mode}
    tracker.event("work_started", steps=section.epochs, device=str(parts.device), **size, **best)
    with Interrupt() as interrupt, monitors_for(config.monitor, parts, out=out, tracker=tracker) as monitors:
        checkpoints = Checkpoints(
            out,
            parts.architecture,
            stopping,
            every_s=section.checkpoint_every_s,
            keep_top=section.keep_top,
            interrupt=interrupt,
            origin=origin,
            choices=parts.choices,
        )
        if last is not None:
            _go_on(last, resumed, state, stopping, checkpoints, batches=size["batches"], out=out, tracker=tracker)
        report = Report(out / Model.HISTORY, tracker, batches=size["batches"])
        measured = parts.rows.plain if config.monitor.train_in_eval_mode else None
        fit_assembled(config, parts, [stopping, report, monitors, checkpoints], measured=measured)
    if state.parts != parts.choices["accumulate"]:
        parts.choices["accumulate"] = state.parts
        tracker.event("out_of_memory", parts=state.parts)
    read_back(parts, stopping.best_epoch, out, source=source, stage=tracker.stage)
    folds = _folds(config, parts, out, source, tracker)
    tracker.event("training_ended", reason=state.stop, epochs=state.epoch, best_epoch=stopping.best_epoch)
    told = ("model", "seed", "train", *(["augment"] if config.augment.active else []))
    settings = flatten({name: config.section(name) for name in told})
    title = f"{config.name}: {parameters:,} parameters, {state.epoch} epochs"
    best_epoch, metric = stopping.best_epoch, parts.schema.headline
    conclude(monitors, state, out=out, tracker=tracker, metric=metric, best_epoch=best_epoch, params=settings, title=title)
    return _outcome(parts, stopping, folds, parameters=parameters)


def _last_checkpoint(resume: Resume, out: Path, origin: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last good checkpoint, and what to say about it; refuse one that was written for something else."""
    last, passed_over = load_last(out)
    before, now = flatten(last["origin"]), flatten(origin)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed and not resume.force:
        key = changed[0]
        raise UserError(
            f"train --resume: {key} was {before.get(key)} when the checkpoint was written and is {now.get(key)} now; "
            "set it back, train anew without --resume, or accept it with --force"
        )
    if fixed := [key for key in changed if key.startswith(_FIXED)]:
        raise UserError(
            f"train --resume --force: {fixed[0]} cannot change in the middle of a training, from {before.get(fixed[0])} to "
            f"{now.get(fixed[0])}; set it back, or train anew without --resume"
        )
    where = {name: last["fit"][name] for name in ("epoch", "batch", "step")}
    return last, {**where, "passed_over": passed_over, "changed": changed}


def _go_on(
    last: dict[str, Any],
    resumed: dict[str, Any],
    state: FitState,
    stopping: EarlyStopping,
    checkpoints: Checkpoints,
    *,
    batches: int,
    out: Path,
    tracker: Tracker,
) -> None:
    """Stand where a checkpoint stood. What was written after it, or with other settings, is gone."""
    stopping.load_state_dict(last["early_stopping"])
    checkpoints.load_state_dict(last)
    state.load_state_dict(last["fit"])
    best_so_far = {"best_value": stopping.best_value, "best_epoch": stopping.best_epoch} if stopping.best_epoch else {}
    tracker.event("resumed", **resumed, **best_so_far)
    if resumed["changed"]:  # the checkpoint has the learning rate that was
        state.schedule.set(state.epoch + (state.batch / batches - 1 if state.batch else 0.0), 1 / batches)
        (out / FOLDS).unlink(missing_ok=True)
    write_atomic(out / Model.HISTORY, b"".join(msgspec.json.encode(line) + b"\n" for line in state.history))


def _folds(config: Config, parts: Assembly, out: Path, source: bytes | None, tracker: Tracker) -> dict[str, float]:
    """Cross-validate where it is asked for; return the mean and the deviation of each metric over folds."""
    if config.train.folds is None:
        return {}
    with Interrupt() as interrupt:
        lines = cross_validate(config, out=out, source=source, choices=parts.choices, tracker=tracker, interrupt=interrupt)
    found = {f"cv/{name}": value for name, value in summarized(lines).items()}
    tracker.metrics({name: value for name, value in found.items() if math.isfinite(value)})
    return found


def _outcome(parts: Assembly, stopping: EarlyStopping, folds: dict[str, float], *, parameters: int) -> Outcome:
    state, metric = parts.state, parts.schema.headline
    best = state.history[stopping.best_epoch - 1]
    summary = (
        f"best {stopping.monitor} {stopping.best_value:.4g}, val/{metric} {best[f'val/{metric}']:.4g} "
        f"at epoch {stopping.best_epoch} of {state.epoch} ({state.stop})"
    )
    if folds:
        summary += f"; cross-validated {metric} {folds[f'cv/{metric}']:.4g} ± {folds[f'cv/{metric}.std']:.2g}"
    metrics = {name: value for name, value in best.items() if "/" in name} | folds
    notes = {"stop_reason": state.stop, "best_epoch": stopping.best_epoch, "epochs": state.epoch, "parameters": parameters}
    return Outcome(summary, metrics=metrics, device=str(parts.device), notes=notes | {"choices": parts.choices})


def _custom_source(config: Config, out: Path) -> bytes | None:
    """Copy a custom model's file into the run, so that the run is whole without it."""
    if not isinstance(config.model, CustomConfig):
        return None
    source = Path(config.model.file).read_bytes()  # that it is there was checked when the run was chosen
    write_atomic(out / Model.SOURCE, source)
    return source
