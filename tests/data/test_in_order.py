"""What a few threads make of the chunks of a source is what one makes of them, bit for bit."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.config import load
from pipeline.data import in_order, table
from pipeline.stages.prepare import run
from pipeline.tracking import Tracker


def test_results_come_in_the_order_of_their_items_whichever_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "threads", lambda: 4)
    seen: set[int] = set()

    def slow(item: int) -> int:
        seen.add(threading.get_ident())
        time.sleep(0.01 * (4 - item % 4))  # the last of four is done first
        return item * item

    assert list(in_order.in_order(slow, range(20))) == [item * item for item in range(20)]
    assert len(seen) == 4


def test_few_items_are_taken_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "threads", lambda: 3)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    for number, _ in enumerate(in_order.in_order(lambda item: item, items()), start=1):
        assert len(taken) <= number + 3


def test_the_error_of_the_first_item_that_fails_is_raised_after_the_results_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "threads", lambda: 4)

    def picky(item: int) -> int:
        if item >= 5:
            time.sleep(0.02 if item == 5 else 0)
            raise ValueError(f"item {item}")
        return item

    done = []
    with pytest.raises(ValueError, match="item 5"):
        for result in in_order.in_order(picky, range(20)):
            done.append(result)  # noqa: PERF402  # what came before the error
    assert done == list(range(5))


def messy_table(path: Path, rows: int) -> None:
    random = np.random.default_rng(3)
    numbers = {f"n{index}": pl.Series(random.lognormal(index, 2, rows)) for index in range(3)}
    cities = np.array(["Bern", "Genf", "Z\u00fcrich", " Genf", *(f"town {index}" for index in range(300))])
    joined = (np.datetime64("2020-01-01T00:00:00") + random.integers(0, 10**8, rows)).astype("datetime64[ms]")
    frame = pl.DataFrame(
        {
            **numbers,
            "visits": random.integers(0, 50, rows),
            "city": cities[np.minimum(random.geometric(0.05, rows), len(cities)) - 1],
            "member": np.where(random.random(rows) < 0.3, "yes", "No"),
            "joined": joined,
            "born": (np.datetime64("1950-01-01") + random.integers(0, 9000, rows)).astype(str),
            "bought": np.where(random.random(rows) + (numbers["n1"].to_numpy() > 3) > 0.9, "yes", "no"),
        }
    )
    gaps = {name: pl.Series(random.random(rows) < 0.05) for name in ("n0", "city", "joined", "bought")}
    full = frame.with_columns(pl.when(~gap).then(pl.col(name)).alias(name) for name, gap in gaps.items())
    pl.concat([full, full.head(rows // 50)]).write_parquet(path, row_group_size=777)


def prepared(out: Path, source: Path) -> dict[str, bytes]:
    out.mkdir()
    word = "data={" + f"source: table, path: {source}, target: bought" + "}"
    run(load(None, [word, "prepare.normalize=robust", "prepare.rare_below=5"]), out=out, tracker=Tracker("prepare"))
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_a_prepared_folder_is_the_same_from_one_thread_and_from_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messy_table(tmp_path / "messy.parquet", 20_000)
    monkeypatch.setattr(table, "CHUNK_ROWS", 1_000)
    monkeypatch.setattr(in_order, "threads", lambda: 1)
    one = prepared(tmp_path / "one", tmp_path / "messy.parquet")
    assert len(one) == 14, sorted(one)
    for times in range(3):
        monkeypatch.setattr(in_order, "threads", lambda: 4)
        several = prepared(tmp_path / f"several-{times}", tmp_path / "messy.parquet")
        assert several.keys() == one.keys()
        assert [name for name in one if several[name] != one[name]] == []
