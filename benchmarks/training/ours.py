"""Slipway's loop, with everything that `make train` hangs on it."""

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.training.jobs import Job
from pipeline.config.monitor_sections import MonitorConfig
from pipeline.config.train_sections import OptimizerConfig, ScheduleConfig, TrainConfig
from pipeline.models.deployable import Deployable
from pipeline.models.registry import Architecture
from pipeline.monitoring import monitors_for
from pipeline.tracking import Journal, Tracker
from pipeline.tracking.tensorboard import TensorBoard
from pipeline.training import FitState, fit
from pipeline.training.assembly import Assembly
from pipeline.training.batches import InMemory
from pipeline.training.begin import begin
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.hooks import Hook
from pipeline.training.objective import objective_for
from pipeline.training.report import Report
from pipeline.training.rows import Rows
from pipeline.training.setup import wants_channels_last
from pipeline.training.step import StepOptions
from serving.schema import Feature, Schema


class _Clock(Hook):
    """Notes how long each epoch took, with everything that hooks do at its end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_fit_start(self, _: FitState) -> None:
        self._since = time.perf_counter()

    def on_epoch_end(self, _: FitState) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._since)
        self._since = now


def ours(job: Job, epochs: int, *, monitors: bool = True) -> list[float]:
    """Train with our loop and what `make train` hangs on it: metrics, early stopping, checkpoints, journal, TensorBoard."""
    parts = _assembly(job, epochs)
    stopping, clock = EarlyStopping("val/loss", patience=None), _Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = Checkpoints(folder, parts.architecture, stopping, every_s=10)
        tracker = Tracker("train", [Journal(folder / "journal.jsonl"), TensorBoard(folder / "tensorboard")])
        with monitors_for(MonitorConfig(), parts, out=folder, tracker=tracker) as watching:
            report = Report(folder / "history.jsonl", tracker, batches=len(parts.rows.train))
            hooks: list[Hook] = [stopping, report, *([watching] if monitors else []), checkpoints, clock]
            fit(parts.state, parts.rows.train, parts.rows.validation, parts.objective, seed=0, hooks=hooks)
        tracker.close()
    return clock.seconds


def _assembly(job: Job, epochs: int) -> Assembly:
    """Put the job together as `pipeline.training.assembly` does from a config; the rows are already normalized."""
    net = job.net()
    if wants_channels_last("auto", net):
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = tuple(job.inputs.shape[1:])
    features = tuple(Feature(f"x{index}", -4.0, 4.0) for index in range(shape[0])) if len(shape) == 1 else ()
    schema = Schema(
        task="regression" if job.regression else "classification",
        kind="table" if features else "image",
        shape=shape,
        target="y",
        minimum=-4.0,
        maximum=4.0,
        classes=() if job.regression else tuple("0123456789"),
        features=features,
    )
    plain = {"shift": 0.0, "scale": 1.0}
    deployable = Deployable(net, task=schema.task, statistics={"inputs": plain, "target": plain})
    counts = torch.empty(0) if job.regression else torch.bincount(job.targets, minlength=10)
    few = InMemory(job.inputs[:64], job.targets[:64], 64)
    rows = Rows(InMemory(job.inputs, job.targets, job.batch_size), few, few, job.inputs[:64], counts, None)
    config = TrainConfig(epochs=epochs, optimizer=OptimizerConfig(name="adam"), schedule=ScheduleConfig(name="constant"))
    objective = objective_for(schema, deployable, config.loss, class_counts=counts, top_k=5)
    architecture = Architecture("mlp", shape, schema.outputs, {})
    return Assembly(schema, architecture, deployable, rows, objective, begin(net, config), StepOptions(), {})
