"""What `prepare` promises of any source: copies stay together however they are written, and only copies do."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import SPLITS
from pipeline.config import load
from pipeline.data.prepare import Summary, prepare
from pipeline.errors import DataError
from pipeline.tracking import Tracker

ROWS = 120


def prepared(folder: Path, text: str, *words: str) -> tuple[Summary, dict[int, str]]:
    """Prepare a CSV; return what was prepared, and the split of each row."""
    file = folder / "rows.csv"
    file.write_text(text, encoding="utf-8")
    config = load(None, [f"data.path={file}", "data.target=y", *words])
    out = folder / "out"
    out.mkdir()
    summary = prepare(config.data, config.prepare, out=out, tracker=Tracker("prepare"))
    return summary, {int(row): split for split in SPLITS for row in np.load(out / f"{split}.rows.npy")}


def numbers(count: int = ROWS, *, seed: int = 0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(50, 20, count)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda n: f"Zürich {n}", lambda n: unicodedata.normalize("NFD", f"Zürich {n}")),
        (lambda n: f"town {n % 40}", lambda n: f" town {n % 40} "),
        (lambda n: f"2010-{n % 12 + 1:02}-{n % 28 + 1:02}", lambda n: f"2010-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00"),
        (lambda n: f"2010-01-{n % 28 + 1:02}T10:00:00Z", lambda n: f"2010-01-{n % 28 + 1:02}T12:00:00+02:00"),
    ],
    ids=["composed letters", "blanks", "date and midnight", "offset"],
)
def test_copies_that_are_written_differently_stay_together(
    tmp_path: Path, first: Callable[[int], str], second: Callable[[int], str]
) -> None:
    values = numbers()
    lines = [f"{values[n]},{write(n)},{['no', 'yes'][n % 2]}" for write in (first, second) for n in range(ROWS)]
    _, split_of = prepared(tmp_path, "a,b,y\n" + "\n".join(lines) + "\n")
    assert [split_of[n] for n in range(ROWS)] == [split_of[n + ROWS] for n in range(ROWS)]
    assert set(split_of.values()) == set(SPLITS)


def test_booleans_in_another_case_are_the_same_row_also_where_no_column_is_a_number(tmp_path: Path) -> None:
    words = ["alpha", "beta", "gamma", "delta", "eps", "zeta"]
    rows = [(words[n % 6], words[n // 6 % 6], ("yes", "no")[n // 36 % 2]) for n in range(72)]
    targets = np.random.default_rng(0).integers(0, 2, 72).tolist()
    lines = [f"{one},{two},{three},{target}" for (one, two, three), target in zip(rows, targets, strict=True)]
    lines += [f"{one},{two},{three.upper()},{target}" for (one, two, three), target in zip(rows, targets, strict=True)]
    _, split_of = prepared(tmp_path, "a,b,c,y\n" + "\n".join(lines) + "\n")
    assert [split_of[n] for n in range(72)] == [split_of[n + 72] for n in range(72)]


def test_numbers_that_32_bits_cannot_tell_apart_are_equal_even_without_a_tolerance(tmp_path: Path) -> None:
    lines = [f"{value + offset!r},{n % 2}" for offset in (0.0, 1e-12) for n, value in enumerate(numbers())]
    _, split_of = prepared(tmp_path, "a,y\n" + "\n".join(lines) + "\n", "prepare.near_duplicates=0")
    assert [split_of[n] for n in range(ROWS)] == [split_of[n + ROWS] for n in range(ROWS)]


@pytest.mark.parametrize("outlier", ["999999999", "1e30"])
def test_one_outlier_does_not_make_all_other_rows_nearly_the_same(tmp_path: Path, outlier: str) -> None:
    values = [*map(str, numbers(300)), outlier]
    lines = [f"{value},{n % 2}" for n, value in enumerate(values)]
    summary, split_of = prepared(tmp_path, "a,y\n" + "\n".join(lines) + "\n")
    assert summary.duplicates["near"] < 10, "a few of 300 numbers are this close by chance"
    assert 180 < sum(split == "train" for split in split_of.values()) < 210


def test_very_large_numbers_are_told_apart_without_a_warning_of_numpy(tmp_path: Path) -> None:
    lines = [f"{value * 1e20!r},{n % 2}" for n, value in enumerate(numbers(300))]
    summary, _ = prepared(tmp_path, "a,y\n" + "\n".join(lines) + "\n")
    assert summary.duplicates["near"] < 10


def test_a_missing_number_is_not_nearly_zero(tmp_path: Path) -> None:
    lines = [f"{value},{'' if copy else 0},{n % 2}" for copy in (0, 1) for n, value in enumerate(numbers())]
    summary, _ = prepared(tmp_path, "a,b,y\n" + "\n".join(lines) + "\n", "data.columns={b: number}")
    assert summary.duplicates["near"] == 0


def test_groups_are_compared_without_the_blanks_around_them(tmp_path: Path) -> None:
    lines = [f"{value},p{n % 30}{' ' * (n // 30 % 2)},{n // 2 % 2}" for n, value in enumerate(numbers(240))]
    _, split_of = prepared(
        tmp_path, "a,patient,y\n" + "\n".join(lines) + "\n", "prepare={split: grouped, split_column: patient}"
    )
    for patient in range(30):
        assert len({split_of[n] for n in range(240) if n % 30 == patient}) == 1


def test_a_split_by_time_reads_dates_as_people_write_them(tmp_path: Path) -> None:
    lines = [f"{value},{n % 28 + 1:02}.{n // 28 + 1:02}.2024,{n % 2}" for n, value in enumerate(numbers())]
    _, split_of = prepared(tmp_path, "a,day,y\n" + "\n".join(lines) + "\n", "prepare={split: time, split_column: day}")
    order = [split_of[n] for n in range(ROWS)]
    assert order == sorted(order, key=SPLITS.index)


def test_very_small_numbers_are_normalized_like_any_other(tmp_path: Path) -> None:
    lines = [f"{value * 1e-14!r},{value * 1e-14 + 3e-15 * (n % 7)!r}" for n, value in enumerate(numbers(200))]
    prepared(tmp_path, "a,y\n" + "\n".join(lines) + "\n", "prepare.allow=[leak]")
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    for scale in (statistics["inputs"]["scale"][0], statistics["target"]["scale"]):
        assert 1e-13 < scale < 3e-13


@pytest.mark.parametrize(
    "names", [("len", "count"), ("count", "len"), ("literal", "index"), ("inputs", "records"), ("text", "rows")]
)
def test_columns_may_be_called_what_our_own_code_calls_things(tmp_path: Path, names: tuple[str, str]) -> None:
    target = np.random.default_rng(0).integers(0, 2, ROWS).tolist()
    lines = [f"{value},{'abc'[n % 3]},{target[n]}" for n, value in enumerate(numbers())]
    summary, _ = prepared(tmp_path, f"{names[0]},{names[1]},y\n" + "\n".join(lines) + "\n")
    assert tuple(feature.name for feature in summary.schema.features) == names


@pytest.mark.parametrize("name", ["*", "^a.*$"])
def test_a_column_name_that_is_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is a pattern that stands for several columns; rename it"):
        prepared(tmp_path, f"{name},y\n1.5,2.5\n")


def test_values_that_are_missing_where_none_may_be_are_refused_with_the_columns(tmp_path: Path) -> None:
    lines = [f"{value if n % 9 else ''},{n % 7},{n % 2}" for n, value in enumerate(numbers())]
    with pytest.raises(
        DataError, match=r"1 column\(s\) of .*rows.csv lack values, such as 'a', and prepare.missing is refused"
    ):
        prepared(tmp_path, "a,b,y\n" + "\n".join(lines) + "\n", "prepare.missing=refused")


def test_texts_that_are_declared_numbers_are_numbers_for_training_and_for_requests(tmp_path: Path) -> None:
    target = np.random.default_rng(0).integers(0, 2, ROWS).tolist()
    lines = [f" {n % 90:03},{target[n]}" for n in range(ROWS)]
    summary, _ = prepared(tmp_path, "code,y\n" + "\n".join(lines) + "\n", "data.columns={code: number}")
    assert (summary.schema.features[0].kind, summary.schema.features[0].maximum) == ("number", 89)
    requests = json.loads((tmp_path / "out" / "requests.json").read_text())["values"]
    assert [cell for (cell,) in requests if not isinstance(cell, int | float)] == []


def test_a_test_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("a,y\n")
    lines = [f"{value},{n % 2}" for n, value in enumerate(numbers())]
    with pytest.raises(DataError, match="test.csv: no rows; name a file that has some, or leave this split out"):
        prepared(tmp_path, "a,y\n" + "\n".join(lines) + "\n", f"data.test_path={tmp_path / 'test.csv'}")
