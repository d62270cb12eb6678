"""Normalization is fitted on the rows it is given, for each column or each channel, however they are cut into chunks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.artifacts import Prepared
from pipeline.config.prepare_sections import Normalization
from pipeline.data.statistics import Moments, affine, fit_array, fit_target
from tests.conftest import Finished

TABLE = np.array([[1, 10, 5], [3, 30, 5], [5, 50, 5]], dtype=np.float32)


def moments_of(*chunks: NDArray[Any]) -> Moments:
    moments = Moments(chunks[0].shape[1:])
    for chunk in chunks:
        moments.add(chunk)
    return moments


def normalized(method: Normalization) -> NDArray[np.float64]:
    quartiles = np.quantile(TABLE.astype(np.float64), (0.25, 0.5, 0.75), axis=0)
    shift, scale = affine(method, moments_of(TABLE), quartiles)
    result: NDArray[np.float64] = (TABLE - shift) / scale
    return result


def test_standard_gives_each_column_mean_0_and_deviation_1_and_a_constant_0() -> None:
    np.testing.assert_allclose(normalized("standard").mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(normalized("standard").std(axis=0), np.array([1.0, 1.0, 0.0]), atol=1e-7)


def test_minmax_gives_each_column_0_to_1() -> None:
    np.testing.assert_allclose(normalized("minmax"), np.array([[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0]]))


def test_robust_puts_the_median_at_0_and_the_interquartile_range_at_1() -> None:
    np.testing.assert_allclose(normalized("robust"), np.array([[-1, -1, 0], [0, 0, 0], [1, 1, 0]]))


def test_robust_falls_back_to_the_deviation_where_most_values_are_the_same() -> None:
    column = np.array([[7], [7], [7], [7], [7], [9]], dtype=np.float32)
    _, scale = affine("robust", moments_of(column), np.quantile(column.astype(np.float64), (0.25, 0.5, 0.75), axis=0))
    np.testing.assert_allclose(scale, column.std(axis=0))


def test_none_changes_nothing() -> None:
    np.testing.assert_array_equal(normalized("none"), TABLE)


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=2, max_size=2), min_size=1, max_size=40),
    st.integers(1, 39),
)
def test_moments_do_not_depend_on_how_rows_are_cut_into_chunks(rows: list[list[float]], cut: int) -> None:
    values = np.array(rows, dtype=np.float32)
    whole, parts = moments_of(values), moments_of(values[:cut], values[cut:])
    for name in ("count", "mean", "std", "minimum", "maximum", "missing"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-6)
    for column in range(2):
        there = values[:, column][~np.isnan(values[:, column])].astype(np.float64)
        if there.size:
            np.testing.assert_allclose(whole.mean[column], there.mean(), rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(whole.std[column], there.std(), rtol=1e-9, atol=1e-3)


def test_a_column_without_any_value_is_left_as_it_is() -> None:
    shift, scale = affine("standard", moments_of(np.full((3, 1), np.nan, dtype=np.float32)), None)
    assert (shift.tolist(), scale.tolist()) == ([0.0], [1.0])


@pytest.mark.parametrize(("shape", "expected", "axes"), [((9, 2, 3), (1, 1), (0, 1, 2)), ((9, 3, 2, 2), (3, 1, 1), (0, 2, 3))])
def test_an_image_has_one_number_for_each_channel(
    shape: tuple[int, ...], expected: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).normal(3, 2, size=shape).astype(np.float32)
    fitted = fit_array("standard", moments_of(values[:4], values[4:]), per_channel=True)
    assert np.shape(fitted["shift"]) == expected
    np.testing.assert_allclose(np.ravel(fitted["shift"]), np.ravel(values.astype(np.float64).mean(axis=axes)))
    np.testing.assert_allclose(np.ravel(fitted["scale"]), np.ravel(values.astype(np.float64).std(axis=axes)))


def test_a_target_is_standardized_or_its_logarithm_is_for_each_output() -> None:
    values = np.array([[1.0, 10.0], [3.0, 1000.0]])
    assert fit_target(values, "standard") == {"shift": [2.0, 505.0], "scale": [1.0, 495.0], "log": False}
    logarithms = np.log1p(values)
    fitted = fit_target(values, "log")
    np.testing.assert_allclose(fitted["shift"], logarithms.mean(axis=0))
    np.testing.assert_allclose(fitted["scale"], logarithms.std(axis=0))
    assert fit_target(values[:, 0], "none") == {"shift": 0.0, "scale": 1.0, "log": False}


def test_the_prepared_statistics_are_those_of_the_train_rows_alone(finished: Finished) -> None:
    train, _ = finished.prepared.split("train")
    test, _ = finished.prepared.split("test")
    shift = np.array(finished.prepared.statistics["inputs"]["shift"])
    np.testing.assert_allclose(shift, train.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert not np.allclose(shift, np.concatenate([train, test]).astype(np.float64).mean(axis=0), rtol=1e-6)
    assert isinstance(finished.prepared, Prepared)
