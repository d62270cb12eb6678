"""The sets of scikit-learn come as they are: raw, in their own units, with the labels that people know."""

from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest

from pipeline.config.data_sections import BuiltinData
from pipeline.data.sources import Opened, files_of, open_source
from pipeline.data.sources.builtin import open_builtin
from pipeline.data.table import Arrays, Table
from pipeline.errors import DataError
from tests.data import offline

KEPT = Path("data/downloads/cal_housing_py3.pkz")


@pytest.fixture(autouse=True)
def offline_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    offline.forbid(monkeypatch)


def opened(source: Any) -> Opened:
    return open_source(BuiltinData(source=source), Path("scratch"), tell=lambda done, total: None)


def cells(found: Opened) -> dict[str, list[Any]]:
    assert isinstance(found.source, Table)
    return found.source.frame.collect().to_dict(as_series=False)


def test_digits_are_arrays_on_a_scale_that_takes_no_picture_files() -> None:
    digits = opened("digits").source
    assert isinstance(digits, Arrays)
    assert (digits.inputs.shape, str(digits.inputs.dtype), digits.inputs.max()) == ((1797, 8, 8), "float32", 16)
    assert (digits.task, digits.target, digits.classes) == ("classification", "digit", tuple("0123456789"))
    assert digits.picture is None
    assert digits.targets[:10].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("source", "rows", "columns", "target", "labels"),
    [
        ("breast_cancer", 569, 30, "diagnosis", ["benign", "malignant"]),
        ("wine", 178, 13, "cultivar", ["class_0", "class_1", "class_2"]),
        ("iris", 150, 4, "species", ["setosa", "versicolor", "virginica"]),
    ],
)
def test_tables_have_their_columns_and_labels_as_text(
    source: str, rows: int, columns: int, target: str, labels: list[str]
) -> None:
    found = opened(source)
    assert (found.target, found.task) == ((target,), "classification")
    table = cells(found)
    assert len(table) == columns + 1
    assert {len(values) for values in table.values()} == {rows}
    assert sorted(set(table[target])) == labels
    assert all(isinstance(value, float) for name, values in table.items() if name != target for value in values)


def test_labels_belong_to_their_rows() -> None:
    iris = cells(opened("iris"))
    assert max(iris["petal length (cm)"][row] for row in range(150) if iris["species"][row] == "setosa") == 1.9


def test_diabetes_keeps_its_units_so_that_a_client_sends_an_age_in_years() -> None:
    found = opened("diabetes")
    assert (found.target, found.task) == (("progression",), "regression")
    ages = cells(found)["age"]
    assert 15 < min(ages) < max(ages) < 90


def keep_housing(*, price: float = 150_000.0) -> None:
    """Write two blocks of houses as scikit-learn keeps them: price, income, age, rooms, bedrooms, people, households, place."""
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    houses = [
        [price, 8.3, 41, 880, 129, 322, 126, 37.88, -122.23],
        [358_500.0, 8.3, 21, 7099, 1106, 2401, 1138, 37.86, -122.22],
    ]
    joblib.dump(np.array(houses), KEPT, compress=6)


def test_california_housing_is_read_from_what_is_kept() -> None:
    keep_housing()
    found = opened("california_housing")
    assert (found.target, found.task) == (("MedHouseVal",), "regression")
    table = cells(found)
    assert table["MedHouseVal"] == [1.5, 3.585]
    assert table["AveRooms"][0] == pytest.approx(880 / 126)
    assert list(table) == [
        *("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude", "MedHouseVal")
    ]
    opened("california_housing")


def test_california_housing_that_changed_is_refused_before_it_is_unpickled() -> None:
    keep_housing()
    opened("california_housing")
    keep_housing(price=1.0)
    with pytest.raises(DataError, match=f"^data: {KEPT} is not what was fetched first: its sha256 was [0-9a-f]{{64}}, and is"):
        opened("california_housing")


def test_california_housing_without_network_and_copy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    offline.unplug(monkeypatch)
    with pytest.raises(DataError) as refused:
        open_builtin(BuiltinData(source="california_housing"))
    (line,) = refused.value.lines
    assert line.startswith("data.source: california_housing could not be fetched (URLError: ")
    assert line.endswith("; connect this machine to the network once, or use another source")


def test_built_in_sets_depend_on_no_file() -> None:
    assert files_of(BuiltinData(source="digits")) == []
