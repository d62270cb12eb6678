"""Drift is told when rows change, and not when they do not, however few or many they are."""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from pipeline.exporting.reference import reference
from serving.schema import Feature, Schema
from serving.telemetry import Entry
from serving.telemetry.drift import LEAST_ROWS, Watch, drift_of
from serving.telemetry.psi import share_shift, shift
from serving.telemetry.state import State, Vector, summed
from serving.telemetry.tracks import Track, Tracks

Array = NDArray[np.float32]

CITIES = ("Bern", "Basel", "Chur", "Genf", "Thun")
TABLE = Schema(
    task="classification",
    kind="table",
    shape=(7,),
    target="sick",
    minimum=-100,
    maximum=20_000,
    classes=("no", "yes"),
    features=(
        Feature("age", 0, 0),  # ranges are set by `schema_of`
        Feature("member", 0, 1, "boolean"),
        Feature("city", 1, 5, "category", CITIES),
        Feature("joined", 0, 0, "date"),
        Feature("mass", 0, 0, nullable=True),
        Feature("größe.cm[1]", 0, 0),
    ),
)
RANDOM = np.random.default_rng(7)


def rows_of(count: int, random: np.random.Generator) -> Array:
    """(count, 7): age, member, city, day and second of joined, mass, größe; a category in a hundred is unseen."""
    city = random.choice(6, count, p=[0.01, 0.5, 0.3, 0.12, 0.06, 0.01])
    mass = np.where(random.random(count) < 0.1, np.nan, random.lognormal(4, 0.3, count))
    columns = [
        random.normal(40, 10, count),
        random.random(count) < 0.3,
        city,
        random.integers(10_000, 12_000, count),
        random.integers(0, 86_400, count),
        mass,
        random.choice([150, 160, 170], count, p=[0.2, 0.5, 0.3]),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def answers_of(rows: Array) -> Array:
    """(rows, 2): older than 45 is sick."""
    sick = 1 / (1 + np.exp(45 - rows[:, 0]))
    return np.stack([1 - sick, sick], axis=1).astype(np.float32)


def schema_of(rows: Array) -> Schema:
    """TABLE with the ranges of these rows, as prepare finds them."""
    features = []
    for feature, start in zip(TABLE.features, TABLE.starts, strict=True):
        low, high = np.nanmin(rows[:, start]), np.nanmax(rows[:, start])
        features.append(Feature(feature.name, float(low), float(high), feature.kind, feature.categories))
    return Schema(**{name: getattr(TABLE, name) for name in TABLE.__struct_fields__} | {"features": tuple(features)})


TRAIN = rows_of(3000, RANDOM)
TRACKS = Tracks(schema_of(TRAIN), reference(TRAIN, answers_of(TRAIN), TABLE))


def table_of(rows: Array, answers: Array | None = None, tracks: Tracks = TRACKS) -> dict[str, Any]:
    counts = tracks.count(rows, answers_of(rows) if answers is None else answers, np.random.default_rng(0))
    return drift_of(tracks, counts)


def row_of(table: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [row for row in (*table["inputs"], *table["predictions"]) if row["name"] == name]
    return dict(found)


def states_of(table: dict[str, Any]) -> dict[str, str]:
    """What is not ok."""
    return {row["name"]: row["state"] for row in (*table["inputs"], *table["predictions"]) if row["state"] != "ok"}


@pytest.mark.parametrize("count", [LEAST_ROWS, 1000, 20_000])
def test_rows_like_the_train_rows_are_ok(count: int) -> None:
    tables = [table_of(rows_of(count, np.random.default_rng(seed))) for seed in range(20)]
    assert [states_of(table) for table in tables] == [{}] * 20
    assert {table["state"] for table in tables} == {"ok"}


def test_small_samples_are_not_further_away_than_large_ones() -> None:
    few = [row_of(table_of(rows_of(LEAST_ROWS, np.random.default_rng(seed))), "age")["psi"] for seed in range(50)]
    assert np.mean(few) < 0.03  # without the correction: 9 * (1/200 + 1/3000), about 0.05


def test_rows_of_many_rare_categories_are_ok_though_hardly_one_of_them_is_seen_twice() -> None:
    shares = 1 / np.arange(1, 151)
    names = tuple(f"c{number}" for number in range(150))
    schema = Schema(
        task="regression",
        kind="table",
        shape=(1,),
        target="y",
        minimum=0,
        maximum=1,
        features=(Feature("place", 1, 150, "category", names),),
    )
    for seed in range(20):
        random = np.random.default_rng(seed)
        codes = random.choice(150, 700, p=shares / shares.sum()).astype(np.float32)[:, None] + 1
        answers = random.random((700, 1)).astype(np.float32)
        tracks = Tracks(schema, reference(codes[:500], answers[:500], schema))
        assert states_of(table_of(codes[500:], answers[500:], tracks)) == {}
    assert states_of(table_of(151 - codes[500:], answers[500:], tracks)) == {"place": "drifted"}
    codes[500:600] = 2  # half of the rows: rare categories do not drown a shift of frequent ones
    assert states_of(table_of(codes[500:], answers[500:], tracks)) == {"place": "drifted"}


def test_an_index_within_the_reach_of_chance_is_ok_however_large_it_is() -> None:
    random, expected = np.random.default_rng(0), np.full(8, 1 / 8)
    shifts = []
    for _ in range(300):
        train, rows = random.multinomial(60, expected), random.multinomial(60, expected)
        shifts.append(shift(train / 60, rows.astype(np.float64), rows=60, reference_rows=60))
    assert max(each.value for each in shifts) > 0.25
    assert {each.state for each in shifts} == {"ok"}


def test_values_on_an_edge_are_in_the_bin_that_the_reference_has_them_in() -> None:
    schema = Schema(task="regression", kind="image", shape=(1, 4), target="y", minimum=0, maximum=30)
    rows = np.random.default_rng(0).integers(0, 31, (500, 1, 4)).astype(np.float32)
    answers = rows[:, 0, :1]
    found = reference(rows, answers, schema)
    counts = Tracks(schema, found).count(rows, answers, np.random.default_rng(0))
    bins = len(found["inputs"]["pixel"]["shares"])
    assert set(found["inputs"]["pixel"]["edges"]) & set(rows.reshape(-1).tolist())
    np.testing.assert_allclose(counts[:bins] / 2000, found["inputs"]["pixel"]["shares"])


def test_digits_of_the_other_half_are_ok_and_inverted_ones_are_not() -> None:
    images, labels = load_digits(return_X_y=True)
    images, answers = images.reshape(-1, 8, 8).astype(np.float32), np.eye(10, dtype=np.float32)[labels]
    classes = tuple(map(str, range(10)))
    schema = Schema(task="classification", kind="image", shape=(8, 8), target="digit", minimum=0, maximum=16, classes=classes)
    train = np.random.default_rng(0).permutation(len(images))
    half, other = train[:900], train[900:]
    tracks = Tracks(schema, reference(images[half], answers[half], schema))
    assert states_of(table_of(images[other], answers[other], tracks)) == {}
    table = table_of(16 - images[other], answers[other], tracks)
    assert states_of(table) == {"pixel": "drifted", "row mean": "drifted"}
    assert row_of(table, "row mean")["out_of_range"] > 0.9
    assert row_of(table, "pixel")["out_of_range"] == 0
    assert row_of(table_of(images[other] * 2, answers[other], tracks), "pixel")["out_of_range"] > 0.1


def test_a_shifted_feature_is_named_and_no_other() -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    answers = answers_of(rows)
    rows[:, -2] *= 1.4
    table = table_of(rows, answers)
    assert states_of(table) == {"mass": "drifted"}
    assert (table["state"], table["inputs"][0]["name"]) == ("drifted", "mass")


def test_a_smaller_shift_is_shifting() -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    answers = answers_of(rows)
    rows[:, 0] += 4  # 0.4 standard deviations: an index of 0.16
    found = row_of(table_of(rows, answers), "age")
    assert (found["state"], 0.1 < found["psi"] < 0.25) == ("shifting", True)


@pytest.mark.parametrize(("column", "value", "name"), [(1, 1, "member"), (2, 4, "city"), (6, 150, "größe.cm[1]")])
def test_one_value_that_becomes_frequent_is_drift(column: int, value: float, name: str) -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    rows[:500, column] = value
    assert set(states_of(table_of(rows))) == {name}


def test_unseen_categories_are_a_share_and_drift() -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    rows[:150, 2] = 0
    rows[150:200, 2] = 99  # no code at all, as a binary request may hold
    table = table_of(rows)
    assert set(states_of(table)) == {"city"}
    assert row_of(table, "city")["unseen"] == pytest.approx(0.2, abs=0.02)


def test_values_out_of_range_are_a_share_and_drift() -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    rows[:30, -1] = 171  # one above the greatest, in the same bin
    rows[30:60, -1] = -5
    found = row_of(table_of(rows), "größe.cm[1]")
    assert (found["out_of_range"], found["state"]) == (0.06, "drifted")


def test_missing_values_are_a_share_and_drift_when_they_become_more() -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    assert row_of(table_of(rows), "mass")["missing"] == pytest.approx(0.1, abs=0.03)
    rows[:400, -2] = np.nan
    table = table_of(rows)
    assert set(states_of(table)) == {"mass"}
    assert row_of(table, "mass")["missing"] > 0.4


def test_answers_that_shift_are_drift_where_inputs_are_as_they_were() -> None:
    rows = rows_of(1000, np.random.default_rng(1))
    table = table_of(rows, answers_of(rows)[:, ::-1])
    assert states_of(table) == {"sick": "drifted"}
    assert table["predictions"][0]["psi"] > 0.25


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_answers_of_every_task_are_watched(task: Any) -> None:
    schema = Schema(
        task=task,
        kind="image",
        shape=(2, 2),
        target="a, b",
        minimum=0,
        maximum=1,
        classes=("a", "b") if task == "multilabel" else (),
        targets=("a", "b") if task == "regression" else (),
    )
    random = np.random.default_rng(0)
    inputs = random.random((2000, 2, 2)).astype(np.float32)
    answers = random.random((2000, 2)).astype(np.float32)
    tracks = Tracks(schema, reference(inputs[:1000], answers[:1000], schema))
    assert states_of(table_of(inputs[1000:], answers[1000:], tracks)) == {}
    answers[1000:, 1] = answers[1000:, 1] ** 4
    assert states_of(table_of(inputs[1000:], answers[1000:], tracks)) == {"b": "drifted"}


def test_nothing_is_said_of_few_rows_or_without_a_reference() -> None:
    table = table_of(rows_of(LEAST_ROWS - 1, np.random.default_rng(1)) + 1000)
    assert (table["state"], table["rows"], table["needed"]) == ("too few rows", LEAST_ROWS - 1, LEAST_ROWS)
    assert table["inputs"] == table["predictions"] == []
    assert drift_of(Tracks(TABLE, {"rows": 0}), np.zeros(0))["state"] == "no reference"


def test_columns_that_were_constant_or_empty_are_watched_as_far_as_they_can_be() -> None:
    features = (Feature("constant", 3, 3), Feature("empty", 0, 0, nullable=True))
    schema = Schema(task="regression", kind="table", shape=(2,), target="y", minimum=0, maximum=3, features=features)
    train = np.array([[3, np.nan]] * 500, dtype=np.float32)
    answers = np.zeros((500, 1), np.float32)
    tracks = Tracks(schema, reference(train, answers, schema))
    assert states_of(table_of(train, answers, tracks)) == {}
    assert states_of(table_of(train + 1, answers, tracks)) == {"constant": "drifted"}
    train[:, 1] = 5
    assert states_of(table_of(train, answers, tracks)) == {"empty": "drifted"}


def entries_of(rows: Array, size: int) -> list[Entry]:
    """Requests of `size` rows."""
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    return [Entry("predict", 200, "m", size, 0, 0, 0, 0, 0, 0, size, "", 0.0, "", part, answers_of(part)) for part in parts]


def watch_of(**options: Any) -> Watch:
    watch = Watch(**options)
    watch.models({"m": (TRACKS.schema, reference(TRAIN, answers_of(TRAIN), TABLE))})
    return watch


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_look_takes_a_bounded_even_sample(size: int) -> None:
    watch, state = watch_of(share=1.0), State()
    rows = rows_of(10_500, np.random.default_rng(3))
    rows[:, 0] = np.where(np.arange(len(rows)) < len(rows) // 2, 30, 60)
    for each in entries_of(rows, size):
        watch.hold(each)
    assert watch.sample(state, 0.0)
    (counts,) = state.drift["m"].values()
    assert 1500 <= counts[-1] <= 2001
    age = counts[:10]
    assert age[:5].sum() == pytest.approx(age[5:].sum(), rel=0.02)


def test_a_look_lets_requests_in_every_few_thousand_values(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, count = [0], Track.count

    def noted(self: Track, values: Vector, rows: int, into: Vector) -> None:
        counted[-1] += len(values)
        count(self, values, rows, into)

    monkeypatch.setattr(Track, "count", noted)
    random = np.random.default_rng(3)
    rows = rows_of(30_000, random)
    found = TRACKS.count(rows, answers_of(rows), random, breathe=lambda: counted.append(0))
    assert sum(counted) == len(TRACKS.all) * len(rows)
    assert max(counted) <= 20_000
    np.testing.assert_array_equal(found, sum(TRACKS.count(part, answers_of(part), random) for part in np.split(rows, 10)))


def test_workers_add_up_and_old_rows_leave_the_window() -> None:
    watch, states = watch_of(share=1.0, slot_s=10, slots=3), [State(), State()]
    rows = rows_of(600, np.random.default_rng(3))
    for state, now in zip(states, (100.0, 112.0), strict=True):
        for each in entries_of(rows, 300):
            watch.hold(each)
        watch.sample(state, now)
    total = summed(states)
    assert [watch.tables(total, now)["m"]["rows"] for now in (119.0, 129.0, 131.0, 141.0)] == [1200, 1200, 600, 0]
    assert watch.tables(total, 119.0)["m"]["window_s"] == 30


def test_drift_takes_its_share_of_time_and_holds_rows_until_then() -> None:
    watch, state = watch_of(share=0.001), State()
    rows = rows_of(400, np.random.default_rng(3))
    looks = 0
    until = time.perf_counter() + 0.2
    while time.perf_counter() < until:
        for each in entries_of(rows[:4], 4):
            watch.hold(each)
        looks += watch.sample(state, 0.0)
    assert 1 <= looks <= 3


def test_a_wide_table_is_made_anew_only_as_often_as_its_share_of_time_allows() -> None:
    watch, state = watch_of(share=0.001), State()
    first = watch.tables(state, 0.0)
    assert watch.tables(state, 0.0) is first
    time.sleep(0.1)  # a table without rows takes microseconds
    assert watch.tables(state, 0.0) is not first


def test_a_model_that_is_gone_is_not_watched() -> None:
    watch, state = watch_of(share=1.0), State()
    (each,) = entries_of(rows_of(300, np.random.default_rng(3)), 300)
    watch.hold(each)
    watch.models({})
    watch.hold(each)
    watch.sample(state, 0.0)
    assert (state.drift, watch.tables(state, 0.0)) == ({}, {})


def test_an_index_of_shares_is_the_formula_less_its_bias() -> None:
    expected, found = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])
    rows = 1e9
    plain = ((found - expected) * np.log(found / expected)).sum()
    assert shift(expected, found * rows, rows=rows, reference_rows=rows).value == pytest.approx(plain, rel=1e-6)
    less = shift(expected, found * 1000, rows=1000, reference_rows=2000).value
    assert less == pytest.approx(plain - 2 * (1 / 1000 + 1 / 2000), abs=0.001)
    assert share_shift(0.0, 0.0, rows=200, reference_rows=1000).state == "ok"
