"""What is fitted on train rows makes the module that is exported do what it should to those rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.columns.statistics import Gathered, embedding_width, fit_table
from pipeline.data.row_files import write_array
from pipeline.models.tabular import TableInputs
from serving.schema import Feature

FEATURES = (
    Feature("age", 0, 0, nullable=True),
    Feature("income", 0, 0),
    Feature("member", 0, 0, "boolean", ("no", "yes"), nullable=True),
    Feature("city", 0, 0, "category", ("Bern", "Genf", "Zürich"), nullable=True),
    Feature("joined", 0, 0, "date", nullable=True),
)
WIDTH = 6


def rows(count: int = 400) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    made = np.column_stack(
        [
            random.normal(40, 10, count),
            random.lognormal(10, 1, count),
            random.random(count) < 0.7,
            random.integers(0, 4, count),
            random.integers(18_000, 20_000, count),
            np.zeros(count),
        ]
    ).astype(np.float32)
    made[:40, 0] = made[10:60, 2] = made[5:15, 3] = np.nan
    made[100:130, 4:] = np.nan
    return made


def fitted(folder: Path, values: NDArray[np.float32], **section: Any) -> dict[str, Any]:
    write_array(folder / "train.inputs.npy", values)
    gathered = Gathered(FEATURES)
    gathered.add(values[:150])
    gathered.add(values[150:])
    return fit_table(gathered, folder / "train.inputs.npy", PrepareConfig(**section))


def preprocessed(statistics: dict[str, Any], values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    module = TableInputs(statistics, FEATURES)
    with torch.no_grad():
        out = module(torch.from_numpy(values)).numpy()
    assert np.isfinite(out).all()
    return dict(zip(module.names, out.T, strict=True))


def test_numbers_are_filled_with_the_median_and_standardized_and_say_what_was_missing(tmp_path: Path) -> None:
    values = rows()
    out = preprocessed(fitted(tmp_path, values), values)
    there = ~np.isnan(values[:, 0])
    assert abs(out["age"][there].mean()) < 1e-5
    assert abs(out["age"][there].std() - 1) < 1e-5
    median, mean, std = np.median(values[there, 0]), values[there, 0].mean(), values[there, 0].std()
    np.testing.assert_allclose(out["age"][~there], (median - mean) / std, rtol=1e-3)
    np.testing.assert_array_equal(out["age is missing"], ~there)
    assert "income is missing" not in out


def test_a_missing_boolean_is_the_more_frequent_value(tmp_path: Path) -> None:
    values = rows()
    out = preprocessed(fitted(tmp_path, values, normalize="none"), values)
    assert set(out["member"][np.isnan(values[:, 2])].tolist()) == {1.0}
    assert set(out["member"].tolist()) == {0.0, 1.0}


def test_quantiles_make_a_heavy_tail_uniform(tmp_path: Path) -> None:
    values = rows()
    out = preprocessed(fitted(tmp_path, values, normalize="quantile"), values)
    assert out["income"].min() == pytest.approx(-0.5)
    assert out["income"].max() == pytest.approx(0.5)
    counts, _ = np.histogram(out["income"], bins=8, range=(-0.5, 0.5))
    assert counts.min() > 40


def test_robust_puts_quartiles_one_apart_whatever_outliers_do(tmp_path: Path) -> None:
    values = rows()
    values[0, 1] = 1e12
    out = preprocessed(fitted(tmp_path, values, normalize="robust"), values)
    low, middle, high = np.quantile(out["income"], (0.25, 0.5, 0.75))
    assert middle == pytest.approx(0, abs=1e-5)
    assert high - low == pytest.approx(1, rel=1e-5)


def test_categories_are_one_hot_or_embedded_by_their_number(tmp_path: Path) -> None:
    values = rows()
    out = preprocessed(fitted(tmp_path, values), values)
    for code, city in enumerate(("Bern", "Genf", "Zürich"), start=1):
        np.testing.assert_array_equal(out[f"city={city}"], values[:, 3] == code)
    np.testing.assert_array_equal(out["city unseen"], values[:, 3] == 0)
    np.testing.assert_array_equal(out["city missing"], np.isnan(values[:, 3]))
    statistics = fitted(tmp_path, values, onehot_most=2)
    assert statistics["onehot"] == []
    assert statistics["embedded"] == [{"at": 3, "categories": 3, "width": embedding_width(3)}]


def test_only_parts_of_a_date_that_vary_in_train_rows_reach_the_network(tmp_path: Path) -> None:
    values = rows()
    (column,) = fitted(tmp_path, values)["dates"]
    assert column["parts"] == ["elapsed", "month", "day", "weekday"]
    values[:, 5] = np.where(np.isnan(values[:, 4]), np.nan, np.arange(len(values)) * 200)
    assert "hour" in fitted(tmp_path, values)["dates"][0]["parts"]
    values[:, 4] = np.where(np.isnan(values[:, 4]), np.nan, 19_000)
    assert fitted(tmp_path, values)["dates"][0]["parts"] == ["hour"]
    values[:, 5] = np.where(np.isnan(values[:, 4]), np.nan, 0)
    assert fitted(tmp_path, values)["dates"] == []


def test_plain_numbers_have_nothing_but_shift_and_scale(tmp_path: Path) -> None:
    values = rows()[:, 1:2]
    gathered = Gathered((Feature("income", 0, 0),))
    gathered.add(values)
    write_array(tmp_path / "train.inputs.npy", values)
    found = fit_table(gathered, tmp_path / "train.inputs.npy", PrepareConfig())
    assert set(found) == {"shift", "scale"}
    np.testing.assert_allclose(found["shift"], values.astype(np.float64).mean(axis=0))


def test_ranges_are_those_of_the_values_that_are_there() -> None:
    values = rows()
    gathered = Gathered(FEATURES)
    gathered.add(values)
    described = {feature.name: feature for feature in gathered.described()}
    assert described["age"].minimum == np.nanmin(values[:, 0])
    assert described["joined"].maximum == np.nanmax(values[:, 4])
    assert described["city"].categories == ("Bern", "Genf", "Zürich")
