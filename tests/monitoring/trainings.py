"""Short real trainings, with and without monitors, and what they recorded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import Prepared
from pipeline.config import load
from pipeline.monitoring import Monitors, monitors_for
from pipeline.tracking import Record, Tracker
from pipeline.training import FitState, fit
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.hooks import Hook

CNN = ("model.name=cnn", "model.channels=[4, 4]", "model.hidden=8")


@dataclass
class Collected:
    """A projection that keeps records."""

    name: str = "collected"
    records: list[Record] = field(default_factory=list)

    def show(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        """Nothing to close."""

    def of(self, kind: str) -> list[Record]:
        return [record for record in self.records if record.kind == kind]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record.values for record in self.of("event") if record.values["name"] == name]

    def numbers(self, prefix: str) -> dict[str, list[tuple[int | None, float]]]:
        """Name → (epoch, number) of metrics that start so."""
        found: dict[str, list[tuple[int | None, float]]] = {}
        for record in self.of("metrics"):
            for name, value in record.values.items():
                if name.startswith(prefix):
                    found.setdefault(name, []).append((record.step, value))
        return found


@dataclass
class Training:
    """A training that is assembled but not begun."""

    parts: Assembly
    out: Path
    collected: Collected
    tracker: Tracker
    monitors: Monitors

    @property
    def state(self) -> FitState:
        return self.parts.state

    def run(self, *hooks: Hook, monitored: bool = True) -> FitState:
        rows = self.parts.rows
        with self.monitors:
            return fit(
                self.state,
                rows.train,
                rows.validation,
                self.parts.objective,
                seed=0,
                options=self.parts.options,
                hooks=[*hooks, *([self.monitors] if monitored else [])],
            )


Begin = Callable[..., Training]


def begin(prepared: Prepared, out: Path, words: Sequence[str], **options: Any) -> Training:
    """Assemble a training as the stage does; by default monitors cost nothing, so that every look happens."""
    defaults = ["train.batch_size=32", "train.epochs=2", "train.threads=1", "train.compile=false"]
    path = out / "config.yaml"
    path.write_text("{}")
    config = load(path, [*defaults, *words])
    parts = assemble(config, prepared)
    collected = Collected()
    tracker = Tracker("train", [collected])
    monitors = monitors_for(config.monitor, parts, out=out, tracker=tracker, **({"clock": lambda: 0.0} | options))
    return Training(parts, out, collected, tracker, monitors)


def same_weights(first: FitState, second: FitState) -> bool:
    """Whether two trainings ended at the same bits, buffers, generators and optimizer included."""
    one, other = first.net.state_dict(), second.net.state_dict()
    moments = [
        torch.equal(a[key], b[key])
        for a, b in zip(first.optimizer.state.values(), second.optimizer.state.values(), strict=True)
        for key in a
        if isinstance(a[key], torch.Tensor)
    ]
    return all(torch.equal(one[name], other[name]) for name in one) and all(moments)


def hooks_on(net: torch.nn.Module) -> int:
    """How many hooks are on a network and its layers."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules())
