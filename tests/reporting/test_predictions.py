"""The table of predictions lets people find the wrong rows, and compare with what the service answers, to the last digit."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.reporting.predictions import write_predictions
from serving.schema import Schema

ROWS = np.array([17, 3, 100_000])
CLASSES = Schema(
    task="classification", kind="table", shape=(2,), target="kind", minimum=0, maximum=1, classes=("a", 'b, "quoted"', "ü")
)


def written(folder: Path, answers: Any, targets: NDArray[Any], schema: Schema) -> list[list[str]]:
    path = folder / "predictions.csv"
    write_predictions(path, ROWS, np.array(answers, dtype=np.float32), targets, schema)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_class_has_its_text_and_the_probability_of_the_prediction(tmp_path: Path) -> None:
    answers = [[0.1, 0.2, 0.7], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]
    assert written(tmp_path, answers, np.array([2, 0, 1]), CLASSES) == [
        ["row", "target", "prediction", "score"],
        ["17", "ü", "ü", "0.7"],
        ["3", "a", 'b, "quoted"', "0.7"],
        ["100000", 'b, "quoted"', "a", "0.6"],
    ]


def test_one_value_has_two_columns_in_full_precision(tmp_path: Path) -> None:
    schema = replace(CLASSES, task="regression", classes=())
    numbers = np.array([1 / 3, 1e-30, 123456.789], dtype=np.float32)
    lines = written(tmp_path, numbers[:, np.newaxis], numbers, schema)
    assert lines[0] == ["row", "target", "prediction"]
    for line, number in zip(lines[1:], numbers, strict=True):
        assert np.float32(line[1]) == np.float32(line[2]) == number


def test_each_of_several_values_and_each_label_has_columns_of_its_own(tmp_path: Path) -> None:
    schema = replace(CLASSES, task="regression", classes=(), targets=("height", "weight"))
    values = np.array([[1.5, 70], [1.25, 50], [2, 90]], dtype=np.float32)
    lines = written(tmp_path, values + 1, values, schema)
    assert lines[:2] == [
        ["row", "target height", "prediction height", "target weight", "prediction weight"],
        ["17", "1.5", "2.5", "70.0", "71.0"],
    ]
    labels = replace(CLASSES, task="multilabel", classes=("a", "b"))
    lines = written(tmp_path, [[0.5, 0.25], [0.75, 0.0], [0.0, 1.0]], np.eye(3, 2, dtype=np.float32), labels)
    assert lines == [
        ["row", "target a", "prediction a", "score a", "target b", "prediction b", "score b"],
        ["17", "1", "1", "0.5", "0", "0", "0.25"],
        ["3", "0", "1", "0.75", "1", "0", "0.0"],
        ["100000", "0", "0", "0.0", "0", "1", "1.0"],
    ]


@pytest.mark.parametrize("count", [0, 5])
def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path, count: int) -> None:
    (tmp_path / "predictions.csv").write_text("before")
    with pytest.raises(ValueError, match="argument"):
        write_predictions(
            tmp_path / "predictions.csv", np.arange(count), np.zeros((3, 3), np.float32), np.zeros(3, np.int64), CLASSES
        )
    assert (tmp_path / "predictions.csv").read_text() == "before"
