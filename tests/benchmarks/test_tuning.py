"""The counts that a recipe is chosen by: of all folds of each seed, from stages that are made once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.artifacts import tuning
from benchmarks.artifacts.networks import Net
from benchmarks.artifacts.pooled import HeldOut
from benchmarks.artifacts.tuning import distance, seeds_of, table
from pipeline.artifacts import SPLITS, Prepared
from serving.schema import Schema
from tests.conftest import QUICK

FOLDS, SEED = 2, 3
WORDS = ("train.epochs=2", "prune.epochs=1", "prune.round_to=1", "quantize.calibration=[minmax]", "quantize.max_drop=1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is made of a small network, shared by all tests."""
    folder = tmp_path_factory.mktemp("kept")
    config = folder / "quick.yaml"
    config.write_text(QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "NETS", {"small": Net(FOLDS, WORDS)})
        patch.setattr(tuning, "write_config", lambda name, folder: config)
        yield folder


def lines(words: Sequence[str], folder: Path) -> dict[str, list[int]]:
    """Return the numbers of each line, without points, by what the line is of: rows, parameters, bytes, distance, counts."""
    head, rule, *found = table("small", [SEED], words, folder)
    assert {len(one) for one in (rule, *found)} == {len(head)}
    return {name: [int(cell.replace(",", "").replace(".", "")) for cell in cells] for name, *cells in found}


def folders(folder: Path, stage: str) -> list[Path]:
    return sorted(folder.glob(f"{stage}-*"))


def test_seeds_are_named_one_by_one_or_from_first_to_last() -> None:
    assert list(seeds_of("1")) == [1]
    assert list(seeds_of("10-14")) == [10, 11, 12, 13, 14]


def test_each_row_outside_of_the_test_rows_is_counted_once(kept: Path) -> None:
    first, second, seed, every = lines([], kept).values()
    parts = [Prepared.open(folder) for folder in folders(kept, "prepare")]
    numbers = np.concatenate([part.row_numbers("test") for part in parts])
    rows = {int(number) for split in SPLITS for number in parts[0].row_numbers(split)}
    assert sorted(numbers) == sorted(rows)
    assert first[0] + second[0] == seed[0] == len(rows)
    assert [one + other for one, other in zip(first[4:-1], second[4:-1], strict=True)] == seed[4:-1]
    assert seed == every
    assert [seed[1], seed[-1]] == [max(first[1], second[1]), max(first[-1], second[-1])]


def test_recipes_that_prune_otherwise_share_rows_and_trained_models(kept: Path) -> None:
    before = lines([], kept)
    wider = lines(["prune.amount=0.25"], kept)
    made = {stage: len(folders(kept, stage)) for stage in ("prepare", "train", "prune", "quantize")}
    assert made == {"prepare": FOLDS, "train": FOLDS, "prune": 2 * FOLDS, "quantize": 2 * FOLDS}
    assert wider[f"{SEED}, 1"][1] > before[f"{SEED}, 1"][1], "parameters"


def test_what_was_interrupted_is_made_anew_and_what_was_finished_is_not(kept: Path) -> None:
    before = lines([], kept)
    stopped = folders(kept, "prune")[0] / "manifest.json"
    stopped.unlink()
    times = {path: path.stat().st_mtime_ns for path in kept.glob("*/manifest.json")}
    lines(["prune.amount=0.25"], kept)
    assert lines([], kept) == before
    assert stopped.is_file()
    assert {path: path.stat().st_mtime_ns for path in kept.glob("*/manifest.json") if path != stopped} == times


def test_a_key_that_does_not_exist_ends_the_command_with_one_line(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tuning", "small", "--seeds", "3", "--folder", str(kept), "--set", "prune.epoch=1"])
        assert tuning.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prune" in line
    assert "epoch" in line


def test_the_distance_is_that_of_answers_and_not_of_the_class_they_name() -> None:
    schema = Schema(task="classification", kind="image", shape=(2,), target="digit", minimum=0, maximum=1, classes=("a", "b"))
    before, numbers = np.array([[0.5, 0.5], [1.0, 0.0]], dtype=np.float32), np.arange(2)

    def held(given: list[list[float]]) -> HeldOut:
        return HeldOut(np.array(given, dtype=np.float32), before, np.zeros(2, dtype=np.int64), numbers, schema)

    assert distance(held(before.tolist())) == 0
    assert distance(held([[0.5, 0.5], [0.5, 0.5]])) == pytest.approx(np.log(2) / 2, rel=1e-5)
    assert np.isfinite(distance(held([[0.0, 1.0], [0.0, 1.0]])))
