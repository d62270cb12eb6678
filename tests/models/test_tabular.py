"""A table's preprocessing as a module: what each statistic does to each value, and the same in every export."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.exporting.formats import RUNTIME, SUFFIX, export
from pipeline.models.deployable import Deployable, Normalize, preprocessed_shape, preprocessing
from pipeline.models.registry import Architecture, build
from pipeline.models.tabular import TableInputs
from serving.columns import Encoder
from serving.predictor import Predictor
from serving.schema import Feature, Schema

NAN = float("nan")
FEATURES = (
    Feature("age", 0, 90, nullable=True),
    Feature("member", 0, 1, "boolean", ("no", "yes")),
    Feature("city", 1, 3, "category", ("Bern", "Genève", "Zürich"), nullable=True),
    Feature("joined", 10_000, 20_000, "date", nullable=True),
    Feature("mass", 1, 9),
    Feature("shop", 1, 4, "category", ("a", "b", "c", "d"), nullable=True),
)
SCHEMA = Schema(
    task="regression", kind="table", shape=(7,), target="price", minimum=0, maximum=20_000, features=FEATURES
)  # values: age, member, city, joined (day, second), mass, shop
QUANTILES = [[0.0, 1.0, 4.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
ROW = [30.0, 1.0, 2.0, 19_723.0, 21_600.0, 4.0, 3.0]  # 2024-01-01 06:00
EMPTY = [NAN, 0.0, NAN, NAN, NAN, 4.0, NAN]


def statistics(**changed: Any) -> dict[str, Any]:
    numbers = {"at": [0, 1, 5], "fill": [40.0, 0.0, 4.0], "shift": [40.0, 0.5, 4.0], "scale": [20.0, 0.5, 2.0], "knots": None}
    date = {"at": 3, "fill": [19_358.0, 0.0], "parts": ["elapsed", "year", "month", "hour"]}
    return {
        "kind": "table",
        "numbers": numbers,
        "indicators": [0, 3],
        "onehot": [{"at": 2, "categories": 3, "missing": True, "unseen": True}],
        "dates": [date | {"shift": [19_358.0, 2023.0, 0, 0, 0, 0], "scale": [365.0, 1.0, 1, 1, 1, 1]}],
        "embedded": [{"at": 6, "categories": 4, "width": 2}],
        **changed,
    }


def by_name(inputs: TableInputs, row: list[float]) -> dict[str, float]:
    return dict(zip(inputs.names, inputs(torch.tensor([row]))[0].tolist(), strict=True))


def test_every_value_has_a_name_and_the_meaning_that_it_says() -> None:
    inputs = TableInputs(statistics(), FEATURES)
    assert by_name(inputs, ROW) == pytest.approx(
        {
            "age": -0.5,
            "member": 1.0,
            "mass": 0.0,
            "age is missing": 0.0,
            "joined is missing": 0.0,
            "city=Bern": 0.0,
            "city=Genève": 1.0,
            "city=Zürich": 0.0,
            "city unseen": 0.0,
            "city missing": 0.0,
            "joined elapsed": 1.0,
            "joined year": 1.0,
            "joined month (sin)": 0.0,
            "joined month (cos)": 1.0,
            "joined hour (sin)": 1.0,
            "joined hour (cos)": 0.0,
            "shop": 3.0,
        },
        abs=1e-6,
    )
    assert inputs.width == len(inputs.names) == 17
    assert inputs.embeddings == ((6, 2),)


def test_what_is_missing_is_filled_and_said_and_what_is_unseen_has_its_own_value() -> None:
    inputs = TableInputs(statistics(), FEATURES)
    found = by_name(inputs, EMPTY)
    assert (found["age"], found["age is missing"], found["joined is missing"]) == (0, 1, 1)
    assert (found["joined elapsed"], found["joined year"], found["shop"]) == (0, 0, 5)
    cities = {name: value for name, value in found.items() if name.startswith("city")}
    assert [name for name, value in cities.items() if value] == ["city missing"]
    unseen = by_name(inputs, [*ROW[:2], 0.0, *ROW[3:]])
    assert [name for name, value in unseen.items() if name.startswith("city") and value] == ["city unseen"]


@given(
    codes=st.lists(st.integers(0, 3).map(float) | st.just(NAN), min_size=1, max_size=20),
    unseen=st.booleans(),
    missing=st.booleans(),
)
def test_one_hot_values_sum_to_one_or_to_none_where_unseen_or_missing_has_no_value(
    codes: list[float], unseen: bool, missing: bool
) -> None:
    onehot = [{"at": 0, "categories": 3, "missing": missing, "unseen": unseen}]
    bare = statistics(numbers={"at": []}, indicators=[], dates=[], embedded=[], onehot=onehot)
    found = TableInputs(bare)(torch.tensor(codes).unsqueeze(1))
    assert found.shape == (len(codes), 3 + unseen + missing)
    expected = [float(missing if np.isnan(code) else unseen if code == 0 else True) for code in codes]
    assert found.sum(1).tolist() == expected


def quantiles(knots: list[list[float]]) -> TableInputs:
    numbers = {"at": list(range(len(knots))), "fill": [0.0] * len(knots), "shift": [], "scale": [], "knots": knots}
    return TableInputs(statistics(numbers=numbers, indicators=[], onehot=[], dates=[], embedded=[]))


# Halves of these are exact, and so are their ramps.
grid = st.integers(-40, 40).map(lambda number: number / 4)


@given(values=st.lists(grid, min_size=2, max_size=30).map(sorted), asked=st.lists(grid, min_size=1, max_size=10))
def test_quantiles_are_ranks_with_lines_between_and_equal_values_share_the_middle_of_theirs(
    values: list[float], asked: list[float]
) -> None:
    last = len(values) - 1
    found = quantiles([values])(torch.tensor([*values, *asked]).unsqueeze(1))[:, 0]
    ranks = [(np.searchsorted(values, value, "left") + np.searchsorted(values, value, "right") - 1) / 2 for value in values]
    between = [np.interp(value, *np.unique(values, return_index=True)) for value in asked]
    np.testing.assert_allclose(found[: len(values)], np.array(ranks) / last - 0.5, atol=1e-6)
    for value, line, seen in zip(asked, between, found[len(values) :].tolist(), strict=True):
        if value not in values and len(set(values)) == len(values):
            assert seen == pytest.approx(line / last - 0.5, abs=1e-6)


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(knots=st.lists(floats, min_size=2, max_size=9).map(sorted), values=st.lists(floats, min_size=1, max_size=9))
def test_quantiles_are_finite_in_range_and_ascend_for_any_numbers_that_float32_holds(
    knots: list[float], values: list[float]
) -> None:
    ascending = torch.tensor(sorted([*values, *knots])).unsqueeze(1)
    found = quantiles([knots])(ascending)[:, 0]
    assert bool(torch.isfinite(found).all())
    assert found.min() >= -0.5
    assert found.max() <= 0.5
    assert bool((found.diff() >= -1e-6).all())


def test_quantiles_of_many_rows_come_in_pieces_and_are_the_same() -> None:
    inputs = quantiles(torch.randn(3, 50).sort(dim=1).values.tolist())
    rows = torch.randn(20_000, 3)
    torch.testing.assert_close(inputs(rows), torch.cat([inputs(part) for part in rows.split(999)]), rtol=0, atol=0)


def net_of(shape: tuple[int, ...], embeddings: tuple[tuple[int, int], ...]) -> nn.Module:
    torch.manual_seed(0)
    return build(Architecture("mlp", shape, 1, {"hidden": [8]}, embeddings)).eval()


def deployable(inputs: dict[str, Any], target: dict[str, Any]) -> Deployable:
    normalize = preprocessing(inputs, FEATURES)
    net = net_of(preprocessed_shape(normalize, SCHEMA.shape), normalize.embeddings)
    return Deployable(net, task="regression", statistics={"inputs": inputs, "target": target}, features=FEATURES).eval()


def messy_rows(count: int, *, extreme: bool) -> NDArray[np.float32]:
    """Rows with every fourth value missing, unseen categories, and, if extreme, the largest numbers that float32 holds."""
    generator = np.random.default_rng(3)
    columns = [generator.normal(40, 30, count), generator.integers(0, 2, count), generator.integers(0, 4, count)]
    columns += [generator.integers(-700_000, 2_900_000, count), generator.integers(0, 86_400, count)]
    columns += [generator.normal(4, 2, count), generator.integers(0, 5, count)]
    rows = np.stack(columns, axis=1).astype(np.float32)
    if extreme:
        rows[::3, 0], rows[1::3, 5] = np.finfo(np.float32).max, np.finfo(np.float32).min
    rows[generator.random(rows.shape) < 0.25] = np.nan
    rows[:, 4][np.isnan(rows[:, 3])] = np.nan
    rows[:, 3][np.isnan(rows[:, 4])] = np.nan
    return rows


NORMALIZATIONS = {
    "affine": statistics(),
    "quantile": statistics(numbers=statistics()["numbers"] | {"knots": QUANTILES}),
    "no numbers": statistics(numbers={"at": []}, indicators=[]),
    "nothing embedded": statistics(embedded=[]),
}


@pytest.mark.parametrize("form", SUFFIX)
@pytest.mark.parametrize("name", NORMALIZATIONS)
@pytest.mark.parametrize("target", [{"shift": 3.0, "scale": 2.0}, {"shift": 3.0, "scale": 2.0, "log": True}])
def test_every_format_answers_like_the_module_for_rows_full_of_holes(name: str, form: str, target: dict[str, Any]) -> None:
    model = deployable(NORMALIZATIONS[name], target)
    rows = messy_rows(300, extreme=name == "quantile")
    payload = export(model, torch.from_numpy(rows[:2]), form)  # type: ignore[arg-type]  # a literal, in a sweep
    predictor = Predictor(payload, schema=SCHEMA, runtime=RUNTIME[form])  # type: ignore[index]
    with torch.no_grad():
        expected = model(torch.from_numpy(rows)).numpy()
    assert np.isfinite(expected).all()
    for size in (1, 7, 300):
        found = np.concatenate([predictor.predict(rows[start : start + size]) for start in range(0, 300, size)])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(data=st.data())
def test_any_cells_that_can_be_encoded_become_finite_values(data: st.DataObject) -> None:
    dates = st.dates().map(str)
    kinds: list[st.SearchStrategy[Any]] = [st.floats(-1e30, 1e30), st.booleans(), st.text(), dates, st.floats(-1e30, 1e30)]
    cells = [data.draw(kind | st.none() if feature.nullable else kind) for kind, feature in zip(kinds, FEATURES, strict=False)]
    row = Encoder(SCHEMA).encode([[*cells, data.draw(st.none() | st.sampled_from("abcdefg"))]])
    found: Tensor = TableInputs(statistics(), FEATURES)(torch.from_numpy(row))
    assert bool(torch.isfinite(found).all())


def test_a_table_of_numbers_alone_keeps_its_plain_graph() -> None:
    plain = preprocessing({"shift": [1.0], "scale": [2.0]}, (Feature("age", 0, 1),))
    assert isinstance(plain, Normalize)
    assert (plain.names, plain.embeddings, preprocessed_shape(plain, (3, 8, 8))) == (("age",), (), (3, 8, 8))


@pytest.mark.parametrize(("shift", "scale", "raw"), [(0.0, 1.0, True), (1.0, 1.0, False), (0.0, 2.0, False)])
def test_both_kinds_of_preprocessing_know_whether_numbers_pass_as_they_are(shift: float, scale: float, raw: bool) -> None:
    numbers = {"at": [0], "fill": [0.0], "shift": [shift], "scale": [scale], "knots": None}
    for inputs in ({"shift": [shift], "scale": [scale]}, statistics(numbers=numbers)):
        assert preprocessing(inputs).is_raw is raw
