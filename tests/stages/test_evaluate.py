"""evaluate: metrics with intervals, and an honest count of the test split's reads."""

import json
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Project


def metrics(project: Project) -> Any:
    return json.loads((project.latest / "evaluate" / "metrics.json").read_text())


def test_a_classifier_gets_intervals_a_table_by_class_and_a_confusion_matrix(project: Project) -> None:
    code, out, _ = project.run("evaluate")
    assert code == 0
    found = metrics(project)
    assert (found["split"], found["rows"]) == ("test", 30)
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] <= accuracy["high"]
    assert f"test accuracy {accuracy['value']:.4g} [{accuracy['low']:.4g}, {accuracy['high']:.4g}] on 30 rows" in out[-1]
    assert [row["class"] for row in found["per_class"]] == ["setosa", "versicolor", "virginica"]
    assert sum(map(sum, found["confusion_matrix"])) == sum(row["support"] for row in found["per_class"]) == 30
    right = sum(found["confusion_matrix"][i][i] for i in range(3))
    assert accuracy["value"] == right / 30
    with Image.open(project.latest / "evaluate" / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_a_regression_is_scored_in_the_targets_unit_with_a_residual_plot(project: Project) -> None:
    code, _, _ = project.run("evaluate", "data.source=diabetes", "train.epochs=20")
    assert code == 0
    found = metrics(project)
    assert set(found["metrics"]) == {"mse", "rmse", "mae", "mape", "max_error", "r2"}
    assert 40 < found["metrics"]["rmse"]["value"] < 80
    assert (project.latest / "evaluate" / "residuals.png").is_file()


def test_reads_of_the_test_split_are_counted_over_all_runs_and_never_hidden(ready: Project) -> None:
    ready.run("evaluate")
    assert metrics(ready)["test_reads"] == {"count": 1, "allowed": 2, "exceeded": False}
    _, out, _ = ready.run("evaluate", "seed=1")
    assert metrics(ready)["test_reads"] == {"count": 2, "allowed": 2, "exceeded": False}
    assert "of the same test split" not in out[-1]
    _, out, _ = ready.run("evaluate", "seed=2")
    assert metrics(ready)["test_reads"] == {"count": 3, "allowed": 2, "exceeded": True}
    assert "read 3 of the same test split" in out[-1]


def test_the_same_test_rows_are_counted_under_any_name_and_normalization(ready: Project) -> None:
    ready.run("evaluate")
    ready.run("evaluate", "name=other")
    ready.run("evaluate", "prepare.normalize=minmax")
    assert metrics(ready)["test_reads"]["count"] == 3


def test_an_evaluation_that_is_skipped_reads_nothing(ready: Project) -> None:
    ready.run("evaluate")
    _, out, _ = ready.run("evaluate")
    assert all("skipped" in line for line in out)
    (ledger,) = (ready.folder / "data" / "test-reads").iterdir()
    assert len(ledger.read_text().splitlines()) == 1


def test_the_validation_split_can_be_read_as_often_as_one_likes(project: Project) -> None:
    project.run("evaluate", "evaluate.split=validation")
    assert "test_reads" not in metrics(project)
    assert not (project.folder / "data" / "test-reads").exists()


@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_a_higher_confidence_gives_a_wider_interval(project: Project, confidence: float) -> None:
    project.run("evaluate", f"evaluate.confidence={confidence}")
    accuracy = metrics(project)["metrics"]["accuracy"]
    assert (accuracy["high"] - accuracy["low"] > 0.2) is (confidence > 0.9)
