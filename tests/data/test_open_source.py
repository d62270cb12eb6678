"""One function opens every kind of source, and the files that rows depend on are known without reading them."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.config.data_sections import ArraysData, TableData
from pipeline.data.sources import Opened, files_of, open_source
from pipeline.data.table import Table

ROWS = {"age": [30, 41, 52], "city": ["Bern", "Rome", "Bern"], "target": [0.5, 1.5, 2.5]}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opened(path: str) -> Opened:
    section = TableData(path=path, target="target", task="regression", columns={"city": "ignore"})
    return open_source(section, Path("scratch"), tell=lambda done, total: None)


@pytest.mark.parametrize("path", ["rows.csv", "rows.tsv", "rows.parquet", "rows.PQ", "shards"])
def test_a_table_is_opened_by_what_its_path_is(path: str) -> None:
    frame = pl.DataFrame(ROWS)
    if path == "shards":
        Path(path).mkdir()
        frame.write_parquet("shards/0.parquet")
    elif path.lower().endswith(("q", "parquet")):
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if path == "rows.tsv" else ",")
    found = opened(path)
    assert isinstance(found.source, Table)
    assert found.source.frame.collect().to_dict(as_series=False) == ROWS
    assert (found.target, found.task, found.kinds) == (("target",), "regression", {"city": "ignore"})


def test_a_table_depends_on_all_its_files() -> None:
    Path("shards/more").mkdir(parents=True)
    for name in ("shards/b.parquet", "shards/more/a.pq", "shards/.hidden.parquet", "shards/readme.txt"):
        Path(name).touch()
    section = TableData(path="shards", test_path="test.parquet", target="y")
    assert files_of(section) == [Path("shards/b.parquet"), Path("shards/more/a.pq"), Path("test.parquet")]


def test_files_that_are_missing_are_named_too() -> None:
    assert files_of(ArraysData(path="x.npy", targets_path="y.npy")) == [Path("x.npy"), Path("y.npy")]


def test_knowing_the_files_costs_no_heavy_import() -> None:
    heavy = "{'polars', 'sklearn', 'PIL', 'torch', 'pandas'}"
    text = f"import sys, pipeline.data.sources.picture_files; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 0, done.stderr
