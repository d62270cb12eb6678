"""From a cell as people write it to numbers: the same for every way to write a thing, and a fault with what was seen."""

import json
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.columns import TOO_LARGE, Encoder, Unfit, encode, is_missing, parse_date, text_of
from serving.schema import Feature, Schema

NAN = float("nan")
NUMBER = Feature("age", 0, 90)
MEMBER = Feature("member", 0, 1, "boolean", ("nein", "ja"))
CITY = Feature("city", 1, 3, "category", ("Bern", "Genève", "3"))
JOINED = Feature("joined", 0, 20_000, "date")
GERMAN = Feature("joined", 0, 20_000, "date", date_format="%d.%m.%Y")


def encoded(feature: Feature, *cells: Any) -> list[Any]:
    numbers: list[Any] = encode(feature, cells).tolist()
    return numbers


def assert_same(found: list[Any], expected: list[Any]) -> None:
    np.testing.assert_array_equal(np.array(found), np.array(expected, dtype=np.float32))


def test_a_category_is_its_text_however_it_is_composed_padded_or_typed() -> None:
    assert_same(encoded(CITY, "Bern", " Bern ", "Gene\u0300ve", "3", 3, 3.0), [[1], [1], [2], [3], [3], [3]])
    assert_same(encoded(CITY, "Rome", "bern", True, 3.5), [[0]] * 4)
    assert_same(encoded(Feature("b", 1, 2, "category", ("false", "true")), True, False, "true"), [[2], [1], [2]])


def test_a_boolean_is_known_by_its_columns_words_and_by_true_and_false_in_any_case() -> None:
    assert_same(encoded(MEMBER, "ja", "JA", True, "true", "nein", False), [[1], [1], [1], [1], [0], [0]])


@pytest.mark.parametrize("feature", [NUMBER, MEMBER, CITY, JOINED])
@pytest.mark.parametrize("cell", [None, NAN, "", "  \t"])
def test_nothing_is_missing_in_every_column(feature: Feature, cell: Any) -> None:
    assert is_missing(cell)
    assert_same(encoded(feature, cell), [[NAN] * feature.width])


@given(moment=st.datetimes())
def test_a_date_is_the_day_and_second_that_python_counts(moment: datetime) -> None:
    day, second = parse_date(moment.isoformat(), None)
    assert datetime(1970, 1, 1) + timedelta(days=day, seconds=second) == moment
    ((found, _),) = encoded(JOINED, moment.isoformat())
    assert found == (moment.date() - date(1970, 1, 1)).days


def test_a_date_with_an_offset_is_a_moment_in_utc_and_a_format_is_obeyed() -> None:
    assert_same(encoded(JOINED, "1970-01-02T01:00:00+02:00", "1970-01-01T23:00:00Z"), [[0, 82_800]] * 2)
    assert_same(encoded(GERMAN, "31.12.1970", " 01.01.1970 "), [[364, 0], [0, 0]])


@pytest.mark.parametrize(
    ("feature", "cell", "message"),
    [
        (NUMBER, "12", 'expected a number, got "12"'),
        (NUMBER, True, "expected a number, got true"),
        (NUMBER, 1e39, TOO_LARGE),
        (NUMBER, 10**400, TOO_LARGE),
        (NUMBER, float("inf"), TOO_LARGE),
        (MEMBER, "vielleicht", 'expected true or false, "nein" or "ja", got "vielleicht"'),
        (Feature("m", 0, 1, "boolean"), 2, "expected true or false, got 2"),
        (JOINED, "30.11.2026", 'expected a date in ISO 8601, such as "2024-10-04", got "30.11.2026"'),
        (JOINED, 20_000, 'expected a date in ISO 8601, such as "2024-10-04", got 20000'),
        (JOINED, "0001-01-01T00:00:00+02:00", 'expected a date in ISO 8601, such as "2024-10-04", got "0001-01-01T00:00:00+02'),
        (GERMAN, "2026-11-30", 'expected a date in %d.%m.%Y, such as "04.10.2024", got "2026-11-30"'),
        (NUMBER, "x" * 1000, 'expected a number, got "' + "x" * 59 + "…"),
    ],
)
def test_a_cell_that_does_not_fit_is_named_with_its_place_and_what_is_right(feature: Feature, cell: Any, message: str) -> None:
    with pytest.raises(Unfit) as caught:
        encode(feature, [None, cell])
    assert caught.value.index == 1
    assert str(caught.value).startswith(message)


SCHEMA = Schema(
    task="regression", kind="table", shape=(5,), target="y", minimum=0, maximum=1, features=(NUMBER, JOINED, MEMBER, CITY)
)


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ([1, "1970-01-01", True, None], 3, "is null, and no row that the model learned from lacked it; send a value"),
        ([1, "1970-01-01", " ", "Bern"], 2, "is empty, and no row that the model learned from lacked it; send a value"),
        ([1, "soon", None, "Bern"], 1, "expected a date"),
        ([1e39, "1970-01-01", True, "Bern"], 0, TOO_LARGE),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_row_and_column(row: list[Any], column: int, message: str) -> None:
    with pytest.raises(Unfit, match=message) as caught:
        Encoder(SCHEMA).encode([[1, "1970-01-01", True, "Bern"], row])
    assert (caught.value.index, caught.value.column) == (1, column)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e30, 1e30) | texts


@given(
    rows=st.lists(
        st.tuples(st.none() | st.floats(-1e30, 1e30), st.none() | st.datetimes().map(str), st.none() | st.booleans(), scalars),
        min_size=1,
    )
)
def test_rows_are_their_columns_side_by_side_also_after_a_way_through_json(rows: list[tuple[Any, ...]]) -> None:
    features = tuple(Feature(f.name, f.minimum, f.maximum, f.kind, f.categories, nullable=True) for f in SCHEMA.features)
    schema = Schema(task="regression", kind="table", shape=(5,), target="y", minimum=0, maximum=1, features=features)
    found = Encoder(schema).encode(rows)
    by_column = [encode(feature, cells) for feature, cells in zip(features, zip(*rows, strict=True), strict=True)]
    np.testing.assert_array_equal(found, np.concatenate(by_column, axis=1))
    np.testing.assert_array_equal(found, Encoder(schema).encode(json.loads(json.dumps(rows))))


@given(cell=scalars.filter(lambda cell: not is_missing(cell)))
def test_every_text_of_a_category_is_found_again(cell: Any) -> None:
    text = text_of(cell)
    assert text_of(text) == text
    assert_same(encoded(Feature("any", 1, 1, "category", (text,)), cell), [[1]])


def test_a_boolean_of_numbers_is_known_by_the_fraction_that_pandas_makes_of_it_as_a_number_and_as_a_text() -> None:
    ill = Feature("ill", 0, 1, "boolean", ("0", "1"), nullable=True)
    found = encode(ill, [1, 1.0, "1", "1.0", " 0.00 ", True, "false", None])
    np.testing.assert_array_equal(found[:, 0], [1, 1, 1, 1, 0, 1, 0, NAN])
    for cell in ("1.5", "10", "1.", 2.0, "1e0"):
        with pytest.raises(Unfit):
            encode(ill, [cell])


def test_a_boolean_is_the_category_that_is_written_alike_where_there_is_just_one() -> None:
    shouted = Feature("any", 1, 3, "category", ("False", "True", "maybe"))
    assert encode(shouted, [True, np.True_, False, "True", "true"])[:, 0].tolist() == [2, 2, 1, 2, 0]
    assert encode(Feature("any", 1, 3, "category", ("TRUE", "True")), [True]).tolist() == [[0]]
    assert encode(Feature("any", 1, 3, "category", ("TRUE", "true")), [True]).tolist() == [[2]]


def test_a_word_of_json_that_a_column_uses_for_something_else_means_what_the_column_says() -> None:
    known = Feature("known", 0, 1, "boolean", ("true", "unknown"))
    np.testing.assert_array_equal(encode(known, [True, "true", "unknown", "TRUE"]), [[0], [0], [1], [0]])
    with pytest.raises(Unfit, match='expected "true" or "unknown", got false'):
        encode(known, [False])
