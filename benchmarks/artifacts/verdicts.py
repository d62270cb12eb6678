"""The tables of a network: its artifacts, its folds, and whether each target is met."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.artifacts.overhead import Overhead
from benchmarks.artifacts.pooled import HeldOut, bound_between, pooled
from benchmarks.serving.table import Target
from pipeline.measuring.rows import Benchmark, Row

FLOAT, INT8, PRUNED_INT8 = "train-fp32.onnx", "train-int8.onnx", "prune-int8.onnx"
_UNSTABLE = "windows never agreed"
_ARTIFACTS = (
    "artifact",
    "accuracy",
    "drop at most",
    "p50 µs",
    "x eager, 1",
    "x eager, 32",
    "x ONNX float, 1",
    "x ONNX float, 32",
    "bytes",
    "of checkpoint",
    "unstable",
)
_FOLDS = ("fold", "chosen", "rows", "lost", "won", "accuracy", "float model's", "x eager, 1", "x eager, 32", "of checkpoint")


@dataclass(frozen=True)
class Made:
    """A finished fold. winner: the file that `select` chose, and what it answers to held-out rows; None where nothing fits."""

    benchmark: Benchmark
    winner: str | None = None
    held: HeldOut | None = None

    def row(self, file: str | None) -> Row | None:
        """Return what was measured of a file, None where it could not be."""
        return next((row for row in self.benchmark.rows if row.file == file and row.failed is None), None)

    def times(self, file: str | None, size: int) -> float | None:
        """Return how many times faster than the float model in PyTorch a file is at a batch size."""
        row = self.row(file)
        if row is None:
            return None
        if size == 1:
            return row.latency.times_faster
        return next((one.times_faster for one in row.throughput if one.batch_size == size), None)

    def is_unstable(self, file: str | None, size: int) -> bool:
        """Return whether the windows of a file never agreed at a batch size."""
        row = self.row(file)
        if row is None:
            return False
        return row.latency.unstable if size == 1 else any(one.unstable for one in row.throughput if one.batch_size == size)

    def times_smaller(self, file: str | None) -> float | None:
        """Return how often a file's bytes go into those of the float checkpoint."""
        row, checkpoint = self.row(file), self.benchmark.baseline.bytes
        return checkpoint / row.bytes if row is not None and row.bytes and checkpoint else None


def targets(made: Sequence[Made], overheads: Sequence[Overhead], *, against_onnx: bool) -> list[Target]:
    """Return every target of a network with what was measured: of several folds the worst, but the drop over all of them.

    against_onnx: whether the ratios against the float ONNX file have targets, too.
    """
    found = [
        Target(
            f"chosen artifact: times faster than eager, batch {size}",
            _least([one.times(one.winner, size) for one in made]),
            bound,
            note=_UNSTABLE if any(one.is_unstable(one.winner, size) for one in made) else "",
        )
        for size, bound in ((1, 6.0), (32, 5.0))
    ]
    held = [one.held for one in made if one.held is not None]
    drop = pooled(held) if len(held) == len(made) else None
    note = f"{drop.lost} lost and {drop.gained} won of {drop.rows} held-out rows" if drop is not None else "nothing was chosen"
    points = None if drop is None else 100 * drop.bound
    found.append(Target("chosen artifact: accuracy drops by at most, points", points, 0.5, least=False, note=note))
    smaller = _least([one.times_smaller(one.winner) for one in made])
    found.append(Target("chosen artifact: times smaller than the float checkpoint", smaller, 8.0))
    if against_onnx:
        for file, bound in ((INT8, 2.3), (PRUNED_INT8, 5.0)):
            found += [_against_onnx(made, file, size, bound) for size in (1, 32)]
    found += [
        Target(
            f"Predictor: µs above a bare session, batch {one.batch_size}",
            one.added_us,
            round(one.allowed_us, 2),
            least=False,
            note=f"bare {one.bare_us:.1f} µs",
        )
        for one in overheads
    ]
    return found


def _against_onnx(made: Sequence[Made], file: str, size: int, bound: float) -> Target:
    ratios = [_quotient(one.times(file, size), one.times(FLOAT, size)) for one in made]
    shaky = any(one.is_unstable(name, size) for one in made for name in (file, FLOAT))
    return Target(f"{file}: times faster than {FLOAT}, batch {size}", _least(ratios), bound, note=_UNSTABLE if shaky else "")


def artifact_table(made: Made) -> list[str]:
    """Return the lines of all artifacts of one fold; the chosen one is bold."""
    return _lines(_ARTIFACTS, [_cells(row, made) for row in [made.benchmark.baseline, *made.benchmark.rows]])


def _cells(row: Row, made: Made) -> list[str]:
    name = f"**{row.file}**" if row.file == made.winner else row.file
    if row.failed is not None:
        return [name, f"failed: {row.failed[:60]}", *[""] * (len(_ARTIFACTS) - 2)]
    baseline = row is made.benchmark.baseline
    times = [1.0 if baseline else made.times(row.file, size) for size in (1, 32)]
    against = [_quotient(value, made.times(FLOAT, size)) for value, size in zip(times, (1, 32), strict=True)]
    return [
        name,
        _shown(row.metric, 4),
        _shown(row.drop.bound if row.drop else None, 4),
        _shown(row.latency.p50_ms and row.latency.p50_ms * 1e3, 1),
        *(_shown(value, 2) for value in (*times, *against)),
        f"{row.bytes:,}",
        _share(1.0 if baseline else made.times_smaller(row.file)),
        ", ".join(str(size) for size in (1, 32) if not baseline and made.is_unstable(row.file, size)),
    ]


def fold_table(made: Sequence[Made]) -> list[str]:
    """Return the lines of every fold: what was chosen, and what it lost and won on the rows that are held out."""
    rows = []
    for number, one in enumerate(made, start=1):
        cells = [str(number), one.winner or "nothing fits"]
        if one.held is not None:
            drop = one.held.drop
            cells += [str(drop.rows), str(drop.lost), str(drop.gained), _shown(drop.value, 4), _shown(drop.before, 4)]
            cells += [_shown(one.times(one.winner, size), 2) for size in (1, 32)] + [_share(one.times_smaller(one.winner))]
        rows.append(cells + [""] * (len(_FOLDS) - len(cells)))
    return _lines(_FOLDS, rows)


def between_folds(made: Sequence[Made]) -> list[str]:
    """Return the line of the bound that takes each fold as one observation; none where a fold has nothing to compare."""
    drops = [one.held.drop.drop for one in made if one.held is not None]
    if len(drops) < len(made):
        return []
    return [f"With each fold as one observation: {100 * bound_between(drops):.2f} points at most (Student's t)."]


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _least(values: Sequence[float | None]) -> float | None:
    """Return the smallest value; None where one is missing."""
    known = [value for value in values if value is not None]
    return min(known) if known and len(known) == len(values) else None


def _quotient(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(times_smaller: float | None) -> str:
    return "" if times_smaller is None else f"1/{times_smaller:.1f}"
