"""The data report's numbers are right, and are JSON."""

import dataclasses
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from pipeline.data.profile.association import Variable, associate
from pipeline.data.profile.histogram import histogram
from pipeline.data.profile.profile import profile
from serving.schema import Feature
from tests.data.subjects import mixed, pictures, table


def profiled(subject: Subject, **given: Any) -> dict[str, Any]:
    found = profile(subject, **({"findings": [], "ignored": {}, "duplicates": {}, "origin": "x.csv"} | given))
    assert json.loads(json.dumps(found, allow_nan=False)) == found, "JSON, without NaN"
    return found


def column(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(column for column in found["columns"] if column["name"] == name)


def test_every_kind_of_column_has_its_numbers() -> None:
    subject = mixed()
    found = profiled(subject)
    train = subject.inputs["train"]
    price = column(found, "price")
    assert price["median"] == pytest.approx(np.nanmedian(train[:, 0]), rel=1e-6)
    assert price["mean"] == pytest.approx(np.nanmean(train[:, 0], dtype=np.float64), rel=1e-6)
    assert price["skew"] > 2
    assert price["missing"]["train"] == pytest.approx(np.isnan(train[:, 0]).mean(), rel=1e-6)
    city = column(found, "city")
    assert city["distinct"] == 4
    assert {entry["text"]: entry["train"] for entry in city["top"]}["Bern"] == int((train[:, 1] == 1).sum())
    assert city["unseen"]["test"] == pytest.approx((subject.inputs["test"][:, 1] == 0).mean(), rel=1e-6)
    assert [entry["text"] for entry in column(found, "member")["top"]] == ["no", "yes"]
    day = column(found, "day")
    assert (day["minimum"], day["maximum"]) == ("2022-01-08", "2022-05-17")
    assert column(found, "constant")["association"] is None
    assert column(found, "constant")["deviation"] == 0


def test_columns_stand_in_the_order_of_their_association() -> None:
    found = profiled(mixed())
    names = [column["name"] for column in found["columns"]]
    assert names[:2] == ["city", "price"]
    assert names[-1] == "constant"
    assert len(names) == 6


def test_rows_checks_and_balance_are_counted_for_each_split() -> None:
    findings = [
        Finding(check="leak", verdict="FAIL", text="a", advice="b", column="c", rows=(1, 2)),
        Finding(check="shift", verdict="PASS", text="d"),
    ]
    subject = mixed()
    found = profiled(subject, findings=findings, ignored={"id": "an identifier"}, duplicates={"exact": 3})
    assert found["rows"] == {"train": 1300, "validation": 300, "test": 400}
    assert found["checks"] == {"FAIL": 1, "WARN": 0, "PASS": 1}
    assert found["findings"][0]["rows"] == [1, 2]
    counts = np.bincount(subject.targets["test"])
    assert [entry["test"] for entry in found["target"]["classes"]] == counts.tolist()
    assert (found["ignored"], found["duplicates"]) == ({"id": "an identifier"}, {"exact": 3})


def test_a_regression_with_missing_targets_and_several_outputs() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(500, 2)).astype(np.float32)
    targets = np.stack([inputs[:, 1] * 3, random.normal(size=500)], axis=1).astype(np.float32)
    targets[0, 0] = np.nan
    subject = table((Feature("a", 0, 1), Feature("b", 0, 1)), inputs, targets)
    subject = dataclasses.replace(subject, schema=msgspec.structs.replace(subject.schema, targets=("u", "v")))
    found = profiled(subject)
    assert [output["name"] for output in found["target"]["outputs"]] == ["u", "v"]
    assert found["target"]["missing"] == {"train": 1, "validation": 0, "test": 0}
    assert found["columns"][0]["name"] == "b"
    assert found["columns"][0]["association"] == {"method": "Spearman", "value": 1.0, "with": "u"}


def test_rows_without_names_are_columns_by_number() -> None:
    inputs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = profiled(table((), inputs, inputs[:, 2].copy()))
    assert found["columns"][0]["name"] == "2"


def test_pictures_have_channels_brightness_and_no_columns() -> None:
    subject = pictures()
    found = profiled(subject)
    train = subject.inputs["train"]
    assert found["columns"] == []
    assert found["images"]["shape"] == [3, 12, 16]
    assert found["images"]["channels"][1]["mean"] == pytest.approx(train[:, 1].mean(), rel=1e-5)
    assert found["images"]["channels"][1]["deviation"] == pytest.approx(train[:, 1].std(), rel=1e-5)
    assert found["images"]["brightness_association"]["value"] > 0.95
    assert sum(found["images"]["brightness"]["test"]) == 24


def test_association_agrees_with_scipy_on_ranks_and_is_near_zero_for_noise() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 400))
    found = associate(Variable(a, classes=False), Variable(a**3 + b, classes=False))
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(a, a**3 + b).statistic)
    many = Variable(random.integers(0, 60, 400).astype(float), classes=True)
    few = Variable(random.integers(0, 3, 400).astype(float), classes=True)
    for other in (Variable(b, classes=False), few):
        noise = associate(many, other)
        assert noise is not None
        assert noise.value < 0.3, "60 groups of 400 rows explain much by chance, which is taken out"


def test_what_decides_the_target_has_one_and_missing_rows_do_not_count() -> None:
    classes = np.repeat([0.0, 1.0, 2.0], 100)
    for column_, is_class, method in ((classes * 7 + 1, True, "Cramér's V"), (classes * 7 + 1, False, "correlation ratio")):
        holes = column_.copy()
        holes[::9] = np.nan
        found = associate(Variable(holes, is_class), Variable(classes, classes=True))
        assert found is not None
        assert found.method == method
        assert found.value == pytest.approx(1, abs=0.01)
    assert associate(Variable(np.full(300, np.nan), classes=False), Variable(classes, classes=True)) is None


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=60), st.booleans())
def test_a_histogram_counts_every_row_once(values: list[float], hole: bool) -> None:
    array = np.array([*values, *([np.nan] if hole else [])], dtype=np.float64)
    found = histogram({"train": array, "test": array[::2]})
    if values:
        assert sum(found["train"]) == len(values)
        assert sum(found["test"]) == int((~np.isnan(array[::2])).sum())
        assert len(found["edges"]) == len(found["train"]) + 1
    else:
        assert found["train"] == found["edges"] == []


def test_few_rows_far_out_do_not_squeeze_the_picture() -> None:
    values = np.append(np.random.default_rng(0).normal(size=1000), [1e6, 1e6])
    found = histogram({"train": values})
    assert found["clipped"]
    assert found["edges"][-1] < 10
    assert sum(found["train"]) == 1002
    assert max(found["train"]) < 300


def test_the_bars_are_those_of_numpy_where_nothing_is_far_out() -> None:
    values = np.linspace(0, 10, 5001)
    found = histogram({"train": values, "test": values + 5})
    assert found["train"] == np.histogram(values, found["edges"])[0].tolist()
    assert found["test"][-1] > 2000, "beyond the last edge"
    assert histogram({"train": np.array([1.0, 2.0, 2.0, 4.0])})["train"] == [1, 2, 0, 1]
