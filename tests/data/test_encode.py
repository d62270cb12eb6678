"""Cells become the numbers that the service computes for the same cells, and categories are those of the train rows."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.columns.encode import Encoder, as_request, learn_categories
from pipeline.data.table import Column, Columns, Table, Target
from pipeline.errors import DataError
from serving.columns import encode

COLUMNS = (
    Column("age", "number", nullable=True),
    Column("city", "category", nullable=True),
    Column("member", "boolean", ("no", "yes")),
    Column("joined", "date", nullable=True),
)
FRAME = pl.DataFrame(
    {
        "age": [31, None, 40, 22, 22, 5],
        "city": ["Zürich", "Bern", None, "Bern", "Genf", "Zu\u0308rich"],  # the last one in decomposed letters
        "member": ["yes", "no", "No", "YES", "no", "no"],
        "joined": ["2024-02-29", None, "1969-12-31", "2024-03-01T12:30:00", "2000-01-01", "2024-02-29"],
    }
)


def table_of(frame: pl.DataFrame) -> Table:
    return Table(frame.lazy(), len(frame), "people.csv", lambda row: f"line {row + 2}")


def columns_of(*columns: Column) -> Columns:
    return Columns(columns, Target(("y",), "regression"), {})


def test_categories_are_learned_from_train_rows_alone_and_rare_ones_are_left_out() -> None:
    train = np.array([True, True, True, True, False, True])
    learned = learn_categories(table_of(FRAME), columns_of(*COLUMNS), train, rare_below=1, most=100)
    assert learned == {"city": ("Bern", "Zürich")}
    assert learn_categories(table_of(FRAME), columns_of(*COLUMNS), train, rare_below=3, most=100) == {"city": ()}
    assert learn_categories(table_of(FRAME), columns_of(*COLUMNS), train, rare_below=1, most=1) == {"city": ("Bern",)}


def test_rows_are_encoded_as_the_schema_promises() -> None:
    encoder = Encoder.of(table_of(FRAME), COLUMNS).learned({"city": ("Bern", "Zürich")})
    rows = encoder.encode(0, FRAME)
    nan = np.nan
    np.testing.assert_array_equal(
        rows,
        np.array(
            [
                [31, 2, 1, 19782, 0],
                [nan, 1, 0, nan, nan],
                [40, nan, 0, -1, 0],
                [22, 1, 1, 19783, 45000],
                [22, 0, 0, 10957, 0],
                [5, 2, 0, 19782, 0],
            ],
            dtype=np.float32,
        ),
    )


CELLS = {
    "age": st.none() | st.integers(-(2**60), 2**60),
    "city": st.none() | st.sampled_from(["Bern", " Bern ", "Zürich", "Zu\u0308rich", "東京", 'quo"te', "", "a,b"]),
    "member": st.sampled_from(["yes", "NO", "no", "Yes"]),
    "joined": st.none() | st.datetimes().map(lambda moment: moment.isoformat()),
}


@settings(max_examples=60)
@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=30))
def test_a_stored_row_is_what_the_service_makes_of_the_same_cells_sent_as_json(records: list[dict[str, object]]) -> None:
    frame = pl.DataFrame(records, schema={"age": pl.Int64, "city": pl.String, "member": pl.String, "joined": pl.String})
    encoder = Encoder.of(table_of(frame), COLUMNS).learned({"city": ("Bern", "Zürich")})
    rows = encoder.encode(0, frame)
    at = 0
    for feature in encoder.features:
        sent = json.loads(json.dumps([as_request(cell) for cell in frame[feature.name].to_list()]))
        np.testing.assert_array_equal(encode(feature, sent), rows[:, at : at + feature.width])
        at += feature.width


def test_native_booleans_and_dates_are_encoded_like_their_texts() -> None:
    frame = pl.DataFrame({"member": [True, False], "joined": ["2024-02-29", "2000-01-01"]}).with_columns(
        pl.col("joined").str.to_date()
    )
    encoder = Encoder.of(table_of(frame), (Column("member", "boolean", ("false", "true")), Column("joined", "date")))
    rows = encoder.encode(0, frame)
    np.testing.assert_array_equal(rows, np.array([[1, 19782, 0], [0, 10957, 0]], dtype=np.float32))


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        (
            Column("member", "boolean", ("no", "yes")),
            ["yes", "perhaps"],
            'data: line 3: column \'member\': expected true or false, "no" or "yes", got "perhaps"; repair it, or set data.columns.member to another kind',  # noqa: E501
        ),
        (
            Column("age", "number"),
            [1.0, 1e39],
            "data: line 3: column 'age': 1e+39 does not fit into 32 bits; repair it, or set data.columns.age to another kind",
        ),
    ],
)
def test_a_cell_that_its_column_cannot_hold_is_named_with_its_place(column: Column, cells: list[object], message: str) -> None:
    frame = pl.DataFrame({column.name: cells})
    with pytest.raises(DataError) as caught:
        Encoder.of(table_of(frame), (column,)).encode(0, frame)
    assert caught.value.lines == (message,)


def test_an_encoder_that_forgets_encodes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.columns.encode._REMEMBERED", 1)
    encoder = Encoder.of(table_of(FRAME), COLUMNS).learned({"city": ("Bern", "Zürich")})
    whole = Encoder.of(table_of(FRAME), COLUMNS).learned({"city": ("Bern", "Zürich")}).encode(0, FRAME)
    for start in (0, 2, 4, 1, 3):
        np.testing.assert_array_equal(encoder.encode(start, FRAME.slice(start, 2)), whole[start : start + 2])


def test_of_several_cells_that_do_not_fit_the_first_is_named() -> None:
    frame = pl.DataFrame({"member": ["yes", "no", "maybe", "perhaps", "maybe", "never"]})
    with pytest.raises(DataError) as caught:
        Encoder.of(table_of(frame), (Column("member", "boolean", ("no", "yes")),)).encode(10, frame)
    assert caught.value.lines[0].startswith("data: line 14: ")
