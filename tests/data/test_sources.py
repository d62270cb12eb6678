"""Sources give raw rows in their own units, and rows that cannot be learned from are named."""

import numpy as np
import pytest

from pipeline.data.checks import check_rows
from pipeline.data.sources import Rows, load
from pipeline.errors import DataError


@pytest.mark.parametrize(
    ("source", "rows", "shape", "classes"),
    [
        ("digits", 1797, (8, 8), 10),
        ("breast_cancer", 569, (30,), 2),
        ("wine", 178, (13,), 3),
        ("iris", 150, (4,), 3),
        ("diabetes", 442, (10,), 0),
    ],
)
def test_each_built_in_set_has_its_known_shape_and_a_schema_that_fits(
    source: str, rows: int, shape: tuple[int, ...], classes: int
) -> None:
    loaded = load(source)
    assert loaded.inputs.shape == (rows, *shape)
    assert loaded.inputs.dtype == np.float32
    assert len(loaded.classes) == classes
    schema = loaded.schema(loaded.inputs)
    assert (schema.shape, schema.outputs) == (shape, classes or 1)
    assert len(schema.features) == (0 if source == "digits" else shape[0])
    assert (schema.minimum, schema.maximum) == (loaded.inputs.min(), loaded.inputs.max())


def test_diabetes_keeps_its_units_so_that_a_client_sends_an_age_in_years() -> None:
    loaded = load("diabetes")
    ages = loaded.inputs[:, loaded.features.index("age")]
    assert 15 < ages.min() < ages.max() < 90


def rows(inputs: list[list[float]], targets: list[float]) -> Rows:
    return Rows(np.array(inputs, np.float32), np.array(targets, np.float32), "regression", "y", (), ("a", "b"))


def named(*features: str) -> Rows:
    return Rows(np.eye(3, 2, dtype=np.float32), np.arange(3, dtype=np.float32), "regression", "y", (), features)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            rows([[1, 2], [np.nan, 3], [4, np.inf]], [1, 2, 3]),
            r"2 row\(s\) hold NaN or infinite values: rows 1, 2; row 1 has nan in column 'a'",
        ),
        (named('say "hi"', "b"), "column name 'say \"hi\"' has quotes"),
        (named("tab\t", "b"), "control characters"),
        (named("b", "b"), "2 columns are called 'b'; rename them"),
        (rows([[1, 2], [2, 3]], [5, 5]), "target 'y' is 5.0 in every row"),
        (rows([[1, 2], [2, 3]], [5, np.nan]), "target 'y' is missing or infinite in rows 1"),
        (Rows(np.empty((0, 2), np.float32), np.empty(0, np.float32), "regression", "y", (), ("a", "b")), "no rows"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_named(broken: Rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_rows(broken)
