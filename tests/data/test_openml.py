"""Tables of openml.org: read from what is kept, offline, and refused when they changed since the first fetch."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.data_sections import OpenmlData
from pipeline.data.sources import Opened, files_of, open_source
from pipeline.data.sources.openml import open_openml
from pipeline.data.table import Table
from pipeline.errors import DataError
from tests.data import offline

KEPT = Path("data/downloads/openml/openml.org")
DATA = KEPT / "data/v1/download/77/pets.arff.gz"
ARFF = """@relation pets
@attribute id integer
@attribute age real
@attribute code {1,2}
@attribute name string
@attribute kind {'house cat',dog}
@data
1,1.5,1,Tom,'house cat'
2,?,2,Rex,dog
3,3,?,Kim,dog
"""


def feature(index: int, name: str, data_type: str, **flags: str) -> dict[str, str]:
    plain = {"is_target": "false", "is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    return {"index": str(index), "name": name, "data_type": data_type, **plain, **flags}


FEATURES = [
    feature(0, "id", "numeric", is_row_identifier="true"),
    feature(1, "age", "numeric", number_of_missing_values="1"),
    feature(2, "code", "nominal", number_of_missing_values="1"),
    feature(3, "name", "string"),
    feature(4, "kind", "nominal", is_target="true"),
]


def keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def keep_pets(*, arff: str = ARFF, features: Any = FEATURES, number: int = 42, **description: Any) -> None:
    """Write a data set as scikit-learn keeps what it fetched."""
    api = KEPT / "api/v1/json/data"
    about = {
        "id": str(number),
        "name": "pets",
        "version": "1",
        "status": "active",
        "format": "ARFF",
        "description": "",
        "url": "https://api.openml.org/data/v1/download/77/pets.arff",
        "md5_checksum": hashlib.md5(arff.encode()).hexdigest(),
        **description,
    }
    keep(api / f"{number}.gz", json.dumps({"data_set_description": about}))
    keep(api / f"features/{number}.gz", json.dumps({"data_features": {"feature": features}}))
    keep(api / f"qualities/{number}.gz", json.dumps({"data_qualities": {"quality": []}}))
    keep(DATA, arff)


def keep_name(*sets: tuple[int, int], name: str = "pets") -> None:
    """Write the answer to a search for a name. sets: id and version of each."""
    found = [{"did": did, "version": version, "status": "active", "name": name} for did, version in sets]
    active = KEPT / f"api/v1/json/data/list/data_name/{name}/limit/2/status/active/.gz"
    keep(active, json.dumps({"data": {"dataset": found}}))


@pytest.fixture(autouse=True)
def offline_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    offline.forbid(monkeypatch)


def table(opened: Opened) -> dict[str, list[Any]]:
    assert isinstance(opened.source, Table)
    return opened.source.frame.collect().to_dict(as_series=False)


def line(section: OpenmlData) -> str:
    with pytest.raises(DataError) as refused:
        open_openml(section)
    (text,) = refused.value.lines
    return text


def test_a_kept_set_is_read_without_the_network() -> None:
    keep_pets()
    opened = open_openml(OpenmlData(dataset=42))
    assert table(opened) == {  # without the id, which its author marked as a row identifier
        "age": [1.5, None, 3.0],
        "code": ["1", "2", None],  # nominal: categories that look like numbers stay text
        "name": ["Tom", "Rex", "Kim"],
        "kind": ["house cat", "dog", "dog"],
    }
    assert (opened.target, opened.source.origin, opened.source.findings) == (("kind",), "openml.org/d/42", ())
    assert files_of(OpenmlData(dataset=42)) == []


def test_the_guard_notices_a_fetch() -> None:
    with pytest.raises(AssertionError, match="the network was asked for"):
        open_openml(OpenmlData(dataset=42))


def test_a_name_is_looked_up_and_another_column_can_be_the_target() -> None:
    keep_pets()
    keep_name((42, 1))
    section = OpenmlData(dataset="Pets", target="age", task="regression", columns={"name": "ignore"})
    opened = open_source(section, Path("scratch"), tell=lambda done, total: None)
    assert (opened.target, opened.task, opened.kinds) == (("age",), "regression", {"name": "ignore"})
    assert "kind" in table(opened)


def test_several_versions_are_told_with_what_to_do() -> None:
    keep_pets()
    keep_name((42, 1), (43, 2))
    (finding,) = open_openml(OpenmlData(dataset="pets")).source.findings
    assert (finding.check, finding.verdict) == ("openml", "WARN")
    assert finding.text.startswith("Multiple active versions of the dataset matching the name pets exist.")
    assert finding.advice == "set data.version, or data.dataset to an id"


def test_a_target_that_is_no_column_is_refused_with_the_columns() -> None:
    keep_pets()
    assert line(OpenmlData(dataset=42, target="species")) == (
        "42 of openml.org: data.target: no column is called 'species'; there are 'age', 'code', 'name', 'kind'"
    )


def test_a_set_that_names_no_target_needs_one() -> None:
    keep_pets(features=[*FEATURES[:-1], feature(4, "kind", "nominal")])
    assert line(OpenmlData(dataset=42)) == (
        "data.target: 42 of openml.org names no target; choose one of its columns: age, code, name, kind"
    )
    assert open_openml(OpenmlData(dataset=42, target="kind")).target == ("kind",)


def test_a_sparse_set_is_refused() -> None:
    keep_pets(format="Sparse_ARFF")
    assert line(OpenmlData(dataset=42)).startswith("data.dataset: 42 of openml.org cannot be used: ValueError: Sparse ARFF")


def test_an_id_takes_no_version() -> None:
    assert line(OpenmlData(dataset=42, version=2)).startswith("data.version: 2 is for a named data set")


def test_a_set_that_changed_since_its_first_fetch_is_refused_with_both_digests() -> None:
    keep_pets()
    open_openml(OpenmlData(dataset=42))
    open_openml(OpenmlData(dataset=42))
    changed = ARFF.replace("Rex,dog", "Bob,dog")
    keep_pets(arff=changed)
    first, now = (hashlib.sha256(text.encode()).hexdigest() for text in (ARFF, changed))
    assert line(OpenmlData(dataset=42)) == (
        f"data: {DATA} is not what was fetched first: its sha256 was {first}, and is {now}; delete the file to fetch it "
        "again, or delete data/downloads/openml-42.sha256.json to accept it"
    )
    Path("data/downloads/openml-42.sha256.json").unlink()
    open_openml(OpenmlData(dataset=42))


def test_another_compression_of_the_same_content_is_the_same_set() -> None:
    keep_pets()
    open_openml(OpenmlData(dataset=42))
    DATA.write_bytes(gzip.compress(ARFF.encode(), compresslevel=1, mtime=1))
    open_openml(OpenmlData(dataset=42))


def test_a_changed_target_in_the_features_is_refused_too() -> None:
    keep_pets()
    open_openml(OpenmlData(dataset=42))
    keep_pets(features=[*FEATURES[:2], feature(2, "code", "nominal", is_target="true"), *FEATURES[3:]])
    assert "features/42.gz is not what was fetched first" in line(OpenmlData(dataset=42))


def test_a_damaged_file_is_refused_before_it_is_read() -> None:
    keep_pets()
    open_openml(OpenmlData(dataset=42))
    DATA.write_bytes(DATA.read_bytes()[:-12])
    assert "and is of a damaged file" in line(OpenmlData(dataset=42))


def test_a_name_that_means_another_set_now_is_refused() -> None:
    keep_pets()
    keep_name((42, 1))
    open_openml(OpenmlData(dataset="pets"))
    keep_pets(number=43)
    keep_name((43, 2))
    assert line(OpenmlData(dataset="pets")).startswith("data: openml-pets is now another data set: it was fetched first as")


def test_without_a_network_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    offline.unplug(monkeypatch)
    assert line(OpenmlData(dataset="cars", version=3)) == (
        "data.dataset: openml-cars-v3 could not be fetched (URLError: <urlopen error [Errno 101] Network is unreachable>), and "
        "data/downloads has no copy of it; connect this machine to the network once, or use another source"
    )
