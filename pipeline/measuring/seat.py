"""One artifact in a sitting: what it is, its worker, and what is known of it so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.exporting.parity import Parity
from pipeline.measuring.orders import Load
from pipeline.measuring.process import Worker, WorkerFailed
from pipeline.measuring.quality import Quality
from pipeline.measuring.rows import Latency, Memory, Row, Start, Throughput
from serving.schema import Array

_GROWTH = 1.05  # throughput that grows by less has found its batch size

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Subject:
    """A candidate to be measured. load: how a worker gets it. proven: by export, on cpu. beside: the same file on cpu."""

    file: str
    variant: str
    format: str
    precision: str
    sha256: str
    bytes: int
    load: Load
    proven: bool = False
    beside: str | None = None


@dataclass(frozen=True)
class Plan:
    """How to measure; as in BenchmarkConfig."""

    threads: int
    batch_sizes: tuple[int, ...]
    window_ms: float
    windows: int
    agree: float
    confidence: float
    resamples: int
    seed: int


@dataclass
class Seat:
    """What is known of one subject so far."""

    subject: Subject
    worker: Worker | None = None
    failed: str | None = None
    start: Start = field(default_factory=Start)
    memory: Memory = field(default_factory=Memory)
    latency: Latency = field(default_factory=Latency)
    throughput: list[Throughput] = field(default_factory=list)
    answers: Array | None = None

    def attempt(self, action: Callable[[Worker], _Result]) -> _Result | None:
        """Let the worker do something; None, and no more orders, once it failed."""
        if self.worker is None:
            return None
        try:
            return action(self.worker)
        except WorkerFailed as error:
            self.failed = str(error)
            self.worker.close()
            self.worker = None
            return None

    @property
    def grows(self) -> bool:
        """Whether a larger batch may give more rows in a second."""
        rates = [one.rows_per_s or 0.0 for one in self.throughput]
        return self.worker is not None and (len(rates) < 2 or rates[-1] >= _GROWTH * max(rates[:-1]))

    def row(self, judged: Quality, *, threads: int, parity: Parity | None) -> Row:
        """Return all that was found. parity: with the same file on cpu, of what another provider computes."""
        subject = self.subject
        return Row(
            file=subject.file,
            variant=subject.variant,
            format=subject.format,
            precision=subject.precision,
            sha256=subject.sha256,
            bytes=subject.bytes,
            threads=threads,
            provider=subject.load.provider,
            proven=subject.proven and (subject.beside is None or (parity is not None and parity.passed)),
            parity=parity,
            failed=self.failed,
            start=self.start,
            memory=self.memory,
            latency=self.latency,
            throughput=self.throughput,
            nonfinite_rows=judged.nonfinite_rows,
            metric=judged.metric,
            metrics=judged.metrics,
            drop=judged.drop,
            outputs=judged.outputs,
            classes=judged.classes,
        )
