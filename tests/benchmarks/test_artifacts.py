"""bench-artifacts: a held-out row counts once, its bound is that of `select`, verdicts follow from what was measured."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.artifacts.networks import NETS, ONNX
from benchmarks.artifacts.overhead import Overhead
from benchmarks.artifacts.pooled import CONFIDENCE, HeldOut, bound_between, held_out, pooled
from benchmarks.artifacts.recipe import ROWS, RUN, make_all
from benchmarks.artifacts.verdicts import FLOAT, INT8, PRUNED_INT8, Made, artifact_table, between_folds, fold_table, targets
from benchmarks.serving.table import target_table
from pipeline.artifacts import Model, Prepared, Selected
from pipeline.config import load
from pipeline.data.prepare import Fold
from pipeline.measuring.rows import Benchmark, Latency, Row, Throughput
from pipeline.metrics.paired import paired_proportions
from serving.schema import Schema
from tests.conftest import Project

SCHEMA = Schema(task="classification", kind="image", shape=(8, 8), target="digit", minimum=0, maximum=16, classes=("a", "b"))


def answered(right: list[bool]) -> np.ndarray:
    """Return answers to rows of class 0, (rows, 2)."""
    return np.array([[1, 0] if one else [0, 1] for one in right], dtype=np.float32)


def fold_of(rows: int, *, lost: int, won: int, first: int = 0) -> HeldOut:
    """A fold of rows numbered from `first`, of which some became wrong and others right."""
    before = [index >= won for index in range(rows)]
    given = [index < rows - lost for index in range(rows)]
    return HeldOut(answered(given), answered(before), np.zeros(rows, dtype=np.int64), first + np.arange(rows), SCHEMA)


def test_lost_and_won_rows_of_all_folds_are_bounded_as_those_of_one_split() -> None:
    parts = [fold_of(288, lost=2, won=1), fold_of(287, lost=1, won=3, first=288), fold_of(100, lost=0, won=0, first=575)]
    drop = pooled(parts)
    assert (drop.rows, drop.lost, drop.gained) == (675, 3, 4)
    right, before = (
        np.concatenate([getattr(part, name).argmax(1) == part.targets for part in parts]) for name in ("given", "before")
    )
    assert drop == paired_proportions(right, before, metric="accuracy", confidence=CONFIDENCE)
    assert parts[0].drop.drop == pytest.approx(1 / 288)


def test_more_rows_of_the_same_kind_make_the_bound_smaller_and_leave_the_drop() -> None:
    one, five = pooled([fold_of(288, lost=1, won=1)]), pooled([fold_of(288, lost=1, won=1, first=288 * k) for k in range(5)])
    assert five.drop == one.drop == 0
    assert five.bound < one.bound / 2


def test_a_row_that_is_held_out_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="row 287 of the source is held out 2 times"):
        pooled([fold_of(288, lost=0, won=0), fold_of(288, lost=0, won=0, first=287)])


def test_with_folds_as_observations_the_bound_grows_with_what_lies_between_them() -> None:
    assert bound_between([0.001] * 5) == pytest.approx(0.001)
    assert bound_between([0.0, 0.002]) == pytest.approx(0.001 + 6.3138 * 0.001, rel=1e-4)  # t of 1 degree of freedom
    assert bound_between([-0.002, 0.004, 0.001]) > bound_between([0.0, 0.002, 0.001])


def row(file: str, one: float, many: float, size: int, *, failed: str | None = None, unstable: bool = False) -> Row:
    return Row(
        file=file,
        variant=file.partition("-")[0],
        format="onnx",
        precision="fp32",
        sha256="",
        bytes=size,
        threads=1,
        failed=failed,
        metric=0.99,
        latency=Latency(p50_ms=0.02, times_faster=one, unstable=unstable),
        throughput=[Throughput(batch_size=32, times_faster=many, unstable=unstable)],
    )


def made(*rows: Row, held: HeldOut | None = None) -> Made:
    """A fold whose winner is the pruned 8-bit file."""
    benchmark = Benchmark(
        conditions={}, headline="accuracy", rows_scored=345, baseline=row("eager", 1.0, 1.0, 800_000), rows=list(rows)
    )
    return Made(benchmark, PRUNED_INT8, held or fold_of(1000, lost=1, won=1))


FAST = made(row(FLOAT, 2.0, 2.0, 790_000), row(INT8, 5.0, 4.6, 210_000), row(PRUNED_INT8, 10.0, 12.0, 80_000))
COSTS = [Overhead(1, 20.0, 25.9), Overhead(32, 1000.0, 1060.0)]


def verdicts(folds: list[Made], *, against_onnx: bool = True) -> dict[str, tuple[float | None, str]]:
    return {one.what: (one.value, one.verdict) for one in targets(folds, COSTS, against_onnx=against_onnx)}


def test_each_target_is_judged_by_what_was_measured() -> None:
    found, drop = verdicts([FAST]), pooled([fold_of(1000, lost=1, won=1)])
    assert found == {
        "chosen artifact: times faster than eager, batch 1": (10.0, "met"),
        "chosen artifact: times faster than eager, batch 32": (12.0, "met"),
        "chosen artifact: accuracy drops by at most, points": (100 * drop.bound, "met"),
        "chosen artifact: times smaller than the float checkpoint": (10.0, "met"),
        f"{INT8}: times faster than {FLOAT}, batch 1": (2.5, "met"),
        f"{INT8}: times faster than {FLOAT}, batch 32": (2.3, "met"),
        f"{PRUNED_INT8}: times faster than {FLOAT}, batch 1": (5.0, "met"),
        f"{PRUNED_INT8}: times faster than {FLOAT}, batch 32": (6.0, "met"),
        "Predictor: µs above a bare session, batch 1": (pytest.approx(5.9), "met"),
        "Predictor: µs above a bare session, batch 32": (60.0, "**missed**"),
    }
    assert len(verdicts([FAST], against_onnx=False)) == len(found) - 4


def test_of_several_folds_the_worst_is_judged_and_the_drop_is_that_of_all() -> None:
    slow = made(row(PRUNED_INT8, 5.9, 4.0, 110_000), held=fold_of(1000, lost=9, won=0, first=1000))
    found = verdicts([FAST, slow], against_onnx=False)
    assert found["chosen artifact: times faster than eager, batch 1"] == (5.9, "**missed**")
    assert found["chosen artifact: times faster than eager, batch 32"] == (4.0, "**missed**")
    assert found["chosen artifact: times smaller than the float checkpoint"][1] == "**missed**"
    value, verdict = found["chosen artifact: accuracy drops by at most, points"]
    drop = pooled([one.held for one in (FAST, slow) if one.held])
    assert (drop.lost, drop.gained, verdict) == (10, 1, "**missed**")
    assert value == 100 * drop.bound


def test_a_fold_in_which_nothing_fits_leaves_its_targets_unjudged() -> None:
    nothing = Made(FAST.benchmark)
    found = verdicts([FAST, nothing])
    assert {verdict for what, (_, verdict) in found.items() if what.startswith("chosen")} == {"not measured"}
    assert "not measured (nothing was chosen)" in "\n".join(target_table(targets([FAST, nothing], [], against_onnx=False)))
    assert "| 2 | nothing fits |" in fold_table([FAST, nothing])[-1]
    assert between_folds([FAST, nothing]) == []


def test_a_file_that_failed_has_no_ratio_and_one_whose_windows_never_agreed_says_so() -> None:
    failed = made(row(FLOAT, 2.0, 2.0, 1, failed="it died"), row(PRUNED_INT8, 10.0, 12.0, 80_000, unstable=True))
    shown = "\n".join(target_table(targets([failed], [], against_onnx=True)))
    assert f"| {PRUNED_INT8}: times faster than {FLOAT}, batch 1 |  | ≥ 5 | not measured (windows never agreed) |" in shown
    assert "batch 1 | 10.00 | ≥ 6 | met (windows never agreed) |" in shown
    table = artifact_table(failed)
    assert "| train-fp32.onnx | failed: it died |" in table[3]
    assert table[-1].startswith(f"| **{PRUNED_INT8}** |")
    assert table[-1].endswith("| 1/10.0 | 1, 32 |")
    assert len({line.count("|") for line in table}) == 1


def test_the_table_of_folds_has_what_each_of_them_lost_and_won() -> None:
    other = replace(FAST, held=fold_of(500, lost=3, won=2, first=1000))
    lines = fold_table([FAST, other])
    assert lines[2] == f"| 1 | {PRUNED_INT8} | 1000 | 1 | 1 | 0.9990 | 0.9990 | 10.00 | 12.00 | 1/10.0 |"
    assert lines[3] == f"| 2 | {PRUNED_INT8} | 500 | 3 | 2 | 0.9940 | 0.9960 | 10.00 | 12.00 | 1/10.0 |"
    assert "points at most" in between_folds([FAST, other])[0]


def test_only_the_first_fold_measures_torchscript() -> None:
    net = NETS["digits"]
    assert not set(ONNX) & set(net.words_of(0))
    assert [set(net.words_of(0)) | set(ONNX)] * 2 == [set(net.words_of(fold)) for fold in (1, net.folds - 1)]


def test_folds_share_no_held_out_row_and_each_ends_with_the_artifact_that_select_chose(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train.epochs=2", "export.formats=[onnx]", "benchmark.precisions=[fp32]", "benchmark.windows=3")
    config = load(Path("quick.yaml"), [*words, "benchmark.window_ms=5", "benchmark.agree=0.99", "benchmark.batch_sizes=[1]"])
    parts = []
    for fold in range(2):
        folder = project.folder / f"fold-{fold}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        make_all(config, Fold(fold, 2))
        parts.append(held_out(folder))
        prepared, model = Prepared.open(folder / ROWS), Model.open(folder / RUN / "train")
        assert model.manifest.takes == {Prepared.kind: prepared.digest}
        decision = msgspec.json.decode(Selected.open(folder / RUN / "select").read(Selected.DECISION))
        assert decision["winner"] == FLOAT
        assert decision["chosen"]["metrics"]["test"]["rows"] == len(parts[-1].targets)
    drop = pooled(parts)
    assert (drop.lost, drop.gained) == (0, 0), "a float file answers as its model"
    assert drop.rows == sum(len(part.numbers) for part in parts) == len(set(np.concatenate([part.numbers for part in parts])))
