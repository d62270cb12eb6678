"""The table, and whether each target is met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.bigger import Bigger
from benchmarks.serving.load import Sample
from benchmarks.serving.rounds import BODIES, Contender, middle

Figures = Mapping[tuple[str, int], Mapping[str, Sample]]  # by body and connections, then by stack
TIMES = {"fastapi": 2.0, "mlserver": 4.0, "litserve": 6.0, "mlflow": 8.0, "bentoml": 12.0, "textbook": 12.0}
ONE = "JSON, 1 row"


@dataclass(frozen=True)
class Target:
    """A figure and its bound. least: whether the bound is the smallest value allowed, or the largest. value: None: unknown."""

    what: str
    value: float | None
    bound: float
    least: bool = True
    note: str = ""

    @property
    def verdict(self) -> str:
        """met, missed, or not measured."""
        if self.value is None:
            return "not measured"
        return "met" if (self.value >= self.bound if self.least else self.value <= self.bound) else "**missed**"


def figures_of(contenders: Sequence[Contender]) -> Figures:
    """Return the medians of every cell that was timed."""
    cells = [(body, connections) for body, shape in BODIES.items() for connections in shape.connections]
    return {
        cell: {one.name: middle(one.samples[cell]) for one in contenders if cell in one.samples and cell[0] not in one.faults}
        for cell in cells
    }


def main_table(figures: Figures, titles: Mapping[str, str], versions: Mapping[str, str]) -> list[str]:
    """Return the lines of the table, the fastest stack of each cell first."""
    lines = [
        "| body, connections | stack | requests/s | p50 ms | p99 ms | errors | ours / this |",
        "|---|---|---|---|---|---|---|",
    ]
    for (body, connections), found in figures.items():
        ours = found.get("ours")
        for name, sample in sorted(found.items(), key=lambda item: -item[1].rate):
            times = "" if ours is None or not sample.rate else f"{ours.rate / sample.rate:.2f}"
            numbers = f"{sample.rate:,.0f} | {sample.p50_ms:.2f} | {sample.p99_ms:.2f} | {sample.errors}"
            title = " ".join(word for word in (titles[name], versions.get(name)) if word)
            lines.append(f"| {body}, c={connections} | {title} | {numbers} | {times} |")
    return lines


def targets(
    figures: Figures,
    faults: Mapping[str, str],
    bigger: Bigger | None,
    start: tuple[float, float] | None,
    loaded_mb: float | None,
) -> list[Target]:
    """Return every target of the service with what was measured.

    faults: by stack, why it was not timed. start: seconds until ready, MB of the worker then. loaded_mb: MB after the load.
    """
    busy, eight = figures.get((ONE, 32), {}), figures.get((ONE, 8), {})
    ours = busy.get("ours")
    found = [
        Target(f"times {name}, {ONE}, c=32", _quotient(ours, busy.get(name)), bound, note=faults.get(name, ""))
        for name, bound in TIMES.items()
    ]
    note = "goal 0.75"
    found.append(Target(f"of the bare WSGI limit, {ONE}, c=32", _quotient(ours, busy.get("wsgi")), 0.4, note=note))
    calm = eight.get("ours")
    tail = None if calm is None or not calm.p50_ms else calm.p99_ms / calm.p50_ms
    found.append(Target(f"p99 in p50, {ONE}, c=8", tail, 2.0, least=False))
    failed = sum(cell["ours"].errors for cell in figures.values() if "ours" in cell)
    failed += sum(bigger.errors.values()) if bigger is not None else 0
    found.append(
        Target("errors of ours, in all cells and on ResNet", None if ours is None else float(failed), 0.0, least=False)
    )
    for kind in ("JSON", "binary"):
        share = None if bigger is None or kind not in bigger.served else bigger.served[kind] / bigger.best
        note = "" if bigger is None else bigger.faults.get(kind, "")
        if bigger is not None and bigger.errors.get(kind):
            note = f"{bigger.errors[kind]} errors"
        found.append(Target(f"of raw ONNX Runtime's throughput, ResNet, {kind}, 1 row, c=32", share, 0.85, note=note))
    seconds, memory = start or (None, None)
    found.append(Target("cold start to ready, s", seconds, 1.5, least=False))
    heaviest = max((value for value in (memory, loaded_mb) if value), default=None)
    found.append(
        Target("resident memory of a worker, MB", heaviest, 120.0, least=False, note="the larger: ready, after the load")
    )
    return found


def _quotient(ours: Sample | None, theirs: Sample | None) -> float | None:
    return None if ours is None or theirs is None or not theirs.rate else ours.rate / theirs.rate


def target_table(found: Sequence[Target]) -> list[str]:
    """Return the lines of the targets."""
    lines = ["| ours | measured | target | |", "|---|---|---|---|"]
    for one in found:
        value = "" if one.value is None else f"{one.value:.2f}"
        note = f" ({one.note})" if one.note else ""
        lines.append(f"| {one.what} | {value} | {'≥' if one.least else '≤'} {one.bound:g} | {one.verdict}{note} |")
    return lines


def side_table(contenders: Sequence[Contender], titles: Mapping[str, str]) -> list[str]:
    """Return how long every stack took to its first answer, and what all of its processes hold in memory after the load."""
    lines = ["| stack | s to the first answer | MB after the load | MB of its largest worker |", "|---|---|---|---|"]
    for one in contenders:
        if one.server is not None:
            largest, everything = one.memory_mb
            lines.append(f"| {titles[one.name]} | {one.ready_s:.2f} | {everything:.0f} | {largest:.0f} |")
    return lines
