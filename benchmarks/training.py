"""How fast the training loop is: seconds an epoch beside a bare loop, the textbook's loop, Lightning and skorch.

    python -m benchmarks.training [--rounds 5] [--epochs 6]

Same network, rows, batch size, optimizer (Adam) and number of threads for all; every contender trains for the same number of
epochs in each round, the rounds are interleaved, and the table shows the median over rounds of a round's median epoch, without
its first, which warms up. Slipway's epochs include metrics on train and validation rows, journal, TensorBoard and checkpoints.
Lightning and skorch are measured where they are installed: `make bench-training` installs them.
"""

import argparse
import importlib.util
import logging
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from pipeline.config.monitor_sections import MonitorConfig
from pipeline.config.train_sections import OptimizerConfig, ScheduleConfig, TrainConfig
from pipeline.models.cnn import Cnn
from pipeline.models.deployable import Deployable
from pipeline.models.mlp import Mlp
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


@dataclass(frozen=True)
class Job:
    """What is trained."""

    name: str
    net: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    batch_size: int
    regression: bool

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return (
            functional.mse_loss(outputs.squeeze(1), targets) if self.regression else functional.cross_entropy(outputs, targets)
        )


def jobs() -> list[Job]:
    """Return the tabular network and the two image networks; rows are made, since only speed is measured."""
    torch.manual_seed(0)
    table, digits, large = torch.randn(16512, 8), torch.randn(1168, 8, 8), torch.randn(4000, 28, 28)
    return [
        Job("tabular MLP 8-24-12-6-1, 16512 rows", lambda: Mlp((8,), 1, hidden=(24, 12, 6)), table, table.sum(1), 32, True),
        Job(
            "digits CNN, 1168 rows of 8x8",
            lambda: Cnn((8, 8), 10, channels=(32, 64), hidden=128, dropout=0.3),
            digits,
            digits.flatten(1)[:, :10].argmax(1),
            32,
            False,
        ),
        Job(
            "CNN, 4000 rows of 28x28",
            lambda: Cnn((28, 28), 10, channels=(8, 16), hidden=64, dropout=0.3),
            large,
            large.flatten(1)[:, :10].argmax(1),
            64,
            False,
        ),
    ]


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


def bare(job: Job, epochs: int) -> list[float]:
    """Train as fast as it goes: rows shuffled once an epoch and sliced, fused optimizer, nothing measured."""
    net = job.net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        order = torch.randperm(len(job.inputs))
        inputs, targets = job.inputs[order], job.targets[order]
        for start in range(0, len(inputs), job.batch_size):
            optimizer.zero_grad(set_to_none=True)
            job.loss(net(inputs[start : start + job.batch_size]), targets[start : start + job.batch_size]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def textbook(job: Job, epochs: int) -> list[float]:
    """Train as most tutorials do: DataLoader, Adam as it comes, the loss read in every step."""
    net = job.net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(job.inputs, job.targets), batch_size=job.batch_size, shuffle=True)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = job.loss(net(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
        seconds.append(time.perf_counter() - started)
    return seconds


def lightning(job: Job, epochs: int) -> list[float]:
    """Train with Lightning, its loggers, bars and checkpoints off: its best case."""
    import lightning.pytorch as pl

    for logger in [name for name in logging.root.manager.loggerDict if name.startswith("lightning")]:
        logging.getLogger(logger).setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = job.net()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return job.loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class Clock(pl.Callback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_train_epoch_start(self, *_: Any) -> None:
            self.started = time.perf_counter()

        def on_train_epoch_end(self, *_: Any) -> None:
            self.seconds.append(time.perf_counter() - self.started)

    clock = Clock()
    off: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False
    )
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[clock], **off)
    trainer.fit(Module(), DataLoader(TensorDataset(job.inputs, job.targets), batch_size=job.batch_size, shuffle=True))
    return clock.seconds


def skorch(job: Job, epochs: int) -> list[float]:
    """Train with skorch's NeuralNet, without a validation split and without printing."""
    from skorch import NeuralNet

    class Loss(nn.Module):
        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return job.loss(outputs, targets)

    net = NeuralNet(
        job.net(),
        criterion=Loss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=epochs,
        batch_size=job.batch_size,
        train_split=None,
        verbose=0,
        iterator_train__shuffle=True,
    )
    net.fit(job.inputs, job.targets)
    return [float(seconds) for seconds in net.history[:, "dur"]]


CONTENDERS: dict[str, Callable[[Job, int], list[float]]] = {
    "bare loop (the limit)": bare,
    "Slipway, default monitors": ours,
    "Slipway, monitors off": partial(ours, monitors=False),
    "textbook DataLoader": textbook,
    "Lightning": lightning,
    "skorch": skorch,
}


def main() -> int:
    """Print a table for each job."""
    parser = argparse.ArgumentParser(description="Seconds an epoch, beside other loops.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    there = {
        name: run
        for name, run in CONTENDERS.items()
        if name not in {"Lightning", "skorch"} or importlib.util.find_spec(name.lower())
    }
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread, "
        f"median of {options.rounds} interleaved rounds of {options.epochs} epochs\n"
    )
    for job in jobs():
        best: dict[str, list[float]] = {name: [] for name in there}
        for _ in range(options.rounds):
            for name, run in there.items():
                best[name].append(statistics.median(run(job, options.epochs)[1:]))  # the first epoch warms up
        limit = statistics.median(best["bare loop (the limit)"])
        print(f"| {job.name}, batch {job.batch_size} | ms an epoch | times the limit |\n|---|---|---|")
        for name, seconds in best.items():
            middle = statistics.median(seconds)
            print(f"| {name} | {1000 * middle:.0f} | {middle / limit:.2f} |")
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
