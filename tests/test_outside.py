"""Files outside the repository count by their content."""

import os
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.errors import DataError
from pipeline.outside import data_files, model_files


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "people.csv"
    file.write_text("age,income\n30,100\n40,200\n")
    return file


def digest(file: Path) -> str:
    return data_files(load(None, [f"data.path={file}", "data.target=income"]))["data"]


def test_a_file_with_other_content_has_another_digest_and_the_same_content_the_same(table: Path) -> None:
    before = digest(table)
    table.write_text("age,income\n30,100\n40,201\n")
    assert digest(table) != before
    table.write_text("age,income\n30,100\n40,200\n")
    assert digest(table) == before


def test_a_file_whose_name_is_no_utf_8_is_refused_in_one_line(table: Path) -> None:
    Path("shards").mkdir()
    Path(os.fsdecode(b"shards/caf\xe9.parquet")).touch()
    with pytest.raises(DataError, match=r"^data: 'shards/caf\\udce9.parquet' .* has a name that is no UTF-8 text; rename it$"):
        digest(Path("shards"))


def test_a_large_file_is_hashed_once_until_it_changes(table: Path) -> None:
    table.write_bytes(b"age,income\n" + b"30,100\n" * 300_000)
    before = digest(table)
    remembered = Path("data/digests.json").read_bytes()
    stat = table.stat()
    payload = bytearray(table.read_bytes())
    payload[-2:-1] = b"9"
    with table.open("r+b") as file:
        file.write(payload)
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest(table) == before  # same size, time and inode: it was not read again
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert digest(table) != before
    assert Path("data/digests.json").read_bytes() != remembered


def test_damaged_memory_is_made_anew(table: Path) -> None:
    table.write_bytes(b"age,income\n" + b"30,100\n" * 300_000)
    before = digest(table)
    Path("data/digests.json").write_bytes(b"{not json")
    assert digest(table) == before


def test_a_missing_file_is_another_input_than_an_empty_one(table: Path) -> None:
    table.write_bytes(b"")
    empty = digest(table)
    table.unlink()
    assert digest(table) != empty


def test_what_ships_with_scikit_learn_and_our_own_models_need_no_file() -> None:
    config = load(None, ["data.source=wine"])
    assert data_files(config) == {}
    assert model_files(config) == {}
