"""prepare: raw rows on disk, found again while nothing changed, made anew when something did."""

import json

import numpy as np
import pytest

from pipeline.artifacts import Prepared
from tests.conftest import Project


def prepared(project: Project) -> list[Prepared]:
    folders = (project.folder / "data" / "prepared").iterdir()
    return [Prepared.open(path) for path in sorted(folders) if path.is_dir()]


def test_rows_are_stored_raw_with_schema_and_train_statistics(project: Project) -> None:
    code, (line,), err = project.run("prepare")
    assert (code, err) == (0, [])
    assert "iris: 98 train + 22 validation + 30 test rows of 4 values" in line
    (made,) = prepared(project)
    inputs, targets = made.split("train")
    assert inputs.dtype == np.float32
    assert targets.dtype == np.int64
    assert made.schema.classes == ("setosa", "versicolor", "virginica")
    assert [feature.name for feature in made.schema.features][:1] == ["sepal length (cm)"]
    assert inputs.min() > 0, "normalized rows would be negative in places"


def test_the_same_request_finds_the_same_folder_and_another_one_makes_another(project: Project) -> None:
    project.run("prepare")
    _, (line,), _ = project.run("prepare")
    assert "skipped, unchanged since" in line
    project.run("prepare", "prepare.split_seed=1")
    first, second = prepared(project)
    assert first.digest != second.digest


def test_two_preparations_of_the_same_data_are_identical(project: Project) -> None:
    project.run("prepare", "name=a")
    project.run("prepare", "name=b")
    first, second = prepared(project)
    assert first.digest == second.digest


@pytest.mark.parametrize("source", ["digits", "diabetes"])
def test_images_are_normalized_by_channel_and_regression_targets_too(project: Project, source: str) -> None:
    project.run("prepare", f"data.source={source}")
    (made,) = prepared(project)
    statistics = json.loads((made.folder / "statistics.json").read_text())
    assert np.shape(statistics["inputs"]["shift"]) == ((1, 1) if source == "digits" else (10,))
    assert (statistics["target"]["scale"] != 1) is (source == "diabetes")


def test_too_few_rows_end_in_one_line(project: Project) -> None:
    (project.folder / "few.csv").write_text("a,y\n1.5,2.5\n2.5,3.5\n")
    code, _, err = project.run("prepare", "data={path: few.csv, target: y}")
    assert code == 2
    assert err == ["prepare: the source has 2 row(s), and each of the three splits needs one; add rows"]
