"""What the train rows looked like, also where values are missing or are categories."""

import numpy as np
import pytest

from pipeline.exporting.reference import reference
from serving.schema import Feature, Schema

NAN = float("nan")
FEATURES = (
    Feature("age", 0, 9, nullable=True),
    Feature("city", 1, 2, "category", ("Bern", "Zürich"), nullable=True),
    Feature("joined", 0, 3, "date"),
    Feature("empty", 0, 0, nullable=True),
)
SCHEMA = Schema(task="regression", kind="table", shape=(5,), target="y", minimum=0, maximum=9, features=FEATURES)
ROWS = np.array([[1, 1, 0, 0, NAN], [NAN, 1, 1, 5, NAN], [3, 0, 2, 9, NAN], [5, NAN, 3, 7, NAN]], dtype=np.float32)


def test_missing_values_are_a_share_and_do_not_bend_the_rest() -> None:
    found = reference(ROWS, ROWS[:, 2:3], SCHEMA)["inputs"]
    assert found["age"]["missing"] == 0.25
    assert found["age"]["mean"] == 3
    assert sum(found["age"]["shares"]) == pytest.approx(1)
    assert found["empty"] == {"mean": None, "std": None, "edges": [], "shares": [], "missing": 1.0}


def test_a_category_has_a_share_for_each_text_and_one_for_the_rest() -> None:
    found = reference(ROWS, ROWS[:, 2:3], SCHEMA)["inputs"]["city"]
    assert found["categories"] == pytest.approx({"Bern": 2 / 3, "Zürich": 0})
    assert (found["unseen"], found["missing"]) == (pytest.approx(1 / 3), 0.25)


def test_a_date_is_its_day_and_a_column_behind_it_is_not_its_second() -> None:
    found = reference(ROWS, ROWS[:, 2:3], SCHEMA)["inputs"]
    assert (found["joined"]["edges"][0], found["joined"]["edges"][-1]) == (0, 3)
    assert "missing" not in found["joined"]


def test_few_distinct_values_have_a_bin_each_so_that_a_boolean_can_shift() -> None:
    schema = Schema(
        task="regression",
        kind="table",
        shape=(2,),
        target="y",
        minimum=0,
        maximum=9,
        features=(Feature("member", 0, 1, "boolean"), Feature("rooms", 1, 4)),
    )
    rows = np.array([[0, 1], [1, 2], [1, 2], [1, 4]], dtype=np.float32)
    found = reference(rows, rows[:, :1], schema)
    assert (found["inputs"]["member"]["edges"], found["inputs"]["member"]["shares"]) == ([0, 0.5, 1], [0.25, 0.75])
    assert (found["inputs"]["rooms"]["edges"], found["inputs"]["rooms"]["shares"]) == ([1, 1.5, 3, 4], [0.25, 0.5, 0.25])
    assert found["predictions"]["y"]["shares"] == [0.25, 0.75]


def test_a_constant_has_one_bin() -> None:
    rows = np.full((5, 5), 2, dtype=np.float32)
    found = reference(rows, rows[:, :1], SCHEMA)["inputs"]["age"]
    assert (found["edges"], found["shares"], found["std"]) == ([2, 2], [1], 0)
