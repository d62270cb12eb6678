"""Normalization is fitted on the rows it is given, for each column or each channel."""

import numpy as np
import pytest

from pipeline.artifacts import Prepared
from pipeline.data import statistics
from tests.conftest import Finished

TABLE = np.array([[1, 10, 5], [3, 30, 5], [5, 50, 5]], dtype=np.float32)


def test_standard_gives_each_column_mean_0_and_deviation_1_and_a_constant_0() -> None:
    fitted = statistics.fit(TABLE, "standard", per_channel=False)
    normalized = (TABLE - fitted["shift"]) / fitted["scale"]
    np.testing.assert_allclose(normalized.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(normalized.std(axis=0), np.array([1.0, 1.0, 0.0]), atol=1e-7)


def test_minmax_gives_each_column_0_to_1() -> None:
    fitted = statistics.fit(TABLE, "minmax", per_channel=False)
    normalized = (TABLE - fitted["shift"]) / fitted["scale"]
    np.testing.assert_allclose(normalized, np.array([[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0]]))


def test_none_changes_nothing() -> None:
    fitted = statistics.fit(TABLE, "none", per_channel=False)
    np.testing.assert_array_equal((TABLE - fitted["shift"]) / fitted["scale"], TABLE)


@pytest.mark.parametrize(("shape", "expected"), [((4, 2, 3), (1, 1)), ((4, 3, 2, 2), (3, 1, 1))])
def test_an_image_has_one_number_for_each_channel(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.shape(statistics.fit(values, "standard", per_channel=True)["shift"]) == expected


def test_the_prepared_statistics_are_those_of_the_train_rows_alone(finished: Finished) -> None:
    train, _ = finished.prepared.split("train")
    test, _ = finished.prepared.split("test")
    shift = np.array(finished.prepared.statistics["inputs"]["shift"])
    np.testing.assert_allclose(shift, train.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert not np.allclose(shift, np.concatenate([train, test]).astype(np.float64).mean(axis=0), rtol=1e-6)
    assert isinstance(finished.prepared, Prepared)
