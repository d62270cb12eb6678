"""What was measured: the content of `benchmark.json`.

A number that is missing is null and one that is not finite becomes null on disk: neither is ever a default. `unstable` is true
unless windows agreed, so a file that lacks it says unstable as well.
"""

from typing import Any

import msgspec

from pipeline.exporting.parity import Parity
from pipeline.metrics.intervals import Interval
from pipeline.metrics.paired import PairedDrop
from serving.bundle import Provider

BASELINE = "eager"


def name_of(file: str, provider: Provider) -> str:
    """Return the name of a candidate: the file's, or `train-fp32.onnx on cuda` where another provider than cpu computes it."""
    return file if provider == "cpu" else f"{file} on {provider}"


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Time of a call at batch 1, quantiles over the calls of the last three windows.

    times_faster: than the baseline, in the same rounds. windows_ms: the median of every window, in order.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    times_faster: float | None = None
    calls: int = 0
    windows_ms: list[float] = []
    unstable: bool = True


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in a second at one batch size, of the median call of the last three windows.

    times_faster: than the baseline, in the same rounds. baseline_rows_per_s: what the baseline did at this batch size, one
    number for all artifacts.
    """

    batch_size: int
    rows_per_s: float | None = None
    times_faster: float | None = None
    baseline_rows_per_s: float | None = None
    windows_ms: list[float] = []
    unstable: bool = True

    @property
    def paired(self) -> float | None:
        """Rows in a second as they would be had all artifacts been measured in the same moments."""
        if self.times_faster is None or self.baseline_rows_per_s is None:
            return None
        return self.times_faster * self.baseline_rows_per_s


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """process_s: from the process's start to its first answer; load_s: from the file's bytes to the first answer."""

    process_s: float | None = None
    load_s: float | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of the whole process after all measurements, its largest batch among them; `how`: where the numbers are from."""

    peak_bytes: int | None = None
    pss_bytes: int | None = None
    how: str = ""


class ClassRecall(msgspec.Struct, frozen=True, kw_only=True):
    """Recall of one class or label on the validation rows that have it (`support`), and of the float model on the same rows."""

    label: str = msgspec.field(name="class")
    support: int | None = None
    recall: float | None = None
    recall_before: float | None = None

    @property
    def drop(self) -> float | None:
        """What the class lost; below 0 where it gained."""
        if self.recall is None or self.recall_before is None:
            return None
        return self.recall_before - self.recall


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one candidate; `file` is its name: by `name_of` of a listed file and the provider, or `eager`.

    failed: why it could not be measured; the numbers that it had until then are kept. nonfinite_rows: validation rows with an
    answer that is NaN or infinite. outputs: the drop of each of several values, whose mean hides a small one. proven: export
    found the float model's answers in it, on every validation row, and of another provider than cpu `parity` holds. parity: of
    such a provider, with the same file on cpu; None on cpu, and where either has no finite answer.
    """

    file: str
    variant: str
    format: str
    precision: str
    sha256: str
    bytes: int | None
    threads: int
    provider: Provider = "cpu"
    proven: bool = False
    parity: Parity | None = None
    failed: str | None = None
    start: Start = Start()
    memory: Memory = Memory()
    latency: Latency = Latency()
    throughput: list[Throughput] = []
    nonfinite_rows: int | None = None
    metric: float | None = None
    metrics: dict[str, Interval] = {}
    drop: PairedDrop | None = None
    outputs: list[PairedDrop] = []
    classes: list[ClassRecall] = []

    @property
    def best_throughput(self) -> Throughput | None:
        """The batch size with the most rows in a second, `paired` with the baseline; None where nothing was measured."""
        measured = [one for one in self.throughput if one.rows_per_s is not None]
        return max(measured, key=lambda one: one.paired or 0.0) if measured else None


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `benchmark.json`: conditions, the float model run by PyTorch, and a row for each artifact."""

    conditions: dict[str, Any]
    headline: str
    rows_scored: int
    baseline: Row
    rows: list[Row]
