"""The loops beside ours: a bare one, the textbook's, and those of two frameworks, each imported only where it runs.

A contender trains a job for a number of epochs and returns the seconds of each.
"""

import logging
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.training.jobs import Job


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
