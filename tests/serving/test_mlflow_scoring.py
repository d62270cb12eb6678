"""MLflow's scoring protocol: what each form of input and each content type becomes."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.columns import Encoder
from serving.errors import UnsupportedMedia
from serving.protocols.mlflow_scoring import Codec, refuse
from serving.schema import Feature, Schema
from tests.serving.asking import facts_of, request_of, rows_in
from tests.serving.conftest import FEATURES, IMAGE, MESSY, rows_of
from tests.serving.forms import CELLS, EXPECTED, NAMES, ROWS, TURNED, TURNED_ROWS, codecs, columns, csv_of, records

table, messy, image, one = codecs(Codec)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(FEATURES), "data": ROWS, "index": [0, 1]}},
        {"dataframe_split": {"columns": TURNED, "data": TURNED_ROWS}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_split": {"columns": [0, 1, 2], "data": ROWS, "index": ["a", "b"]}},
        {"dataframe_records": records(FEATURES, ROWS)},
        {"dataframe_records": records(TURNED, TURNED_ROWS)},
        {"instances": ROWS},
        {"instances": records(TURNED, TURNED_ROWS)},
        {"inputs": ROWS},
        {"inputs": records(TURNED, TURNED_ROWS)},
        {"inputs": columns(TURNED, TURNED_ROWS)},
        {"inputs": ROWS, "params": {}},
        {"inputs": ROWS, "params": None, "client_request_id": 3},
    ],
)
def test_every_form_of_the_same_rows_gives_the_same_numbers(body: Any) -> None:
    np.testing.assert_array_equal(rows_in(table, body), EXPECTED)


def test_csv_gives_the_same_numbers_in_any_order_of_columns() -> None:
    np.testing.assert_array_equal(rows_in(table, csv_of(TURNED, TURNED_ROWS), "text/csv; charset=utf-8"), EXPECTED)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": NAMES, "data": CELLS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in CELLS]}},
        {"dataframe_records": records(NAMES, CELLS)},
        {"instances": CELLS},
        {"inputs": columns(NAMES[::-1], [row[::-1] for row in CELLS])},
    ],
)
def test_cells_of_every_kind_are_encoded_as_in_training(body: Any) -> None:
    np.testing.assert_array_equal(rows_in(messy, body), Encoder(MESSY).encode(CELLS))


def test_what_may_be_missing_may_be_null_absent_or_nan_as_the_clients_write_it() -> None:
    expected = Encoder(MESSY).encode([[None, True, "Bern", None, 2.5]] * 2)
    given_cells = [None, True, "Bern", None, 2.5]
    absent = [{"member": True, "mass": 2.5, "city": "Bern"}] * 2
    for body in (
        {"instances": [given_cells] * 2},
        {"dataframe_records": absent},
        {"inputs": columns(["member", "mass", "city"], [[True, 2.5, "Bern"]] * 2)},
        {"dataframe_split": {"columns": ["city", "mass", "member"], "data": [["Bern", 2.5, True]] * 2}},
        {"dataframe_split": {"columns": NAMES, "data": [[float("nan"), True, "Bern", float("nan"), 2.5]] * 2}},
    ):
        np.testing.assert_array_equal(rows_in(messy, body), expected)


@given(st.lists(st.text(alphabet='aN"\\, :{}[]NaN'), min_size=1, max_size=5))
def test_nan_within_texts_stays_what_it_is(texts: list[str]) -> None:
    cities = [f"NaN{text}" for text in texts]
    schema = Schema(
        task="regression",
        kind="table",
        shape=(2,),
        target="y",
        minimum=0,
        maximum=1,
        features=(
            Feature("city", 1, 5, "category", tuple(dict.fromkeys(c.strip() for c in cities))),
            Feature("x", 0, 1, nullable=True),
        ),
    )
    cells = [[city, None] for city in cities]
    body = {"instances": [[city, float("nan")] for city in cities]}
    np.testing.assert_array_equal(rows_in(Codec(facts_of(schema)), body), Encoder(schema).encode(cells))


def test_images_come_as_nested_arrays() -> None:
    rows = rows_of(IMAGE, 3)
    for form in ("inputs", "instances"):
        np.testing.assert_array_equal(rows_in(image, {form: rows.tolist()}), rows)


def test_a_model_of_one_feature_takes_bare_values_and_one_row_may_be_an_object_of_values() -> None:
    np.testing.assert_array_equal(rows_in(one, {"inputs": [1, 2.5]}), [[1], [2.5]])
    np.testing.assert_array_equal(rows_in(one, {"instances": [[1], [2.5]]}), [[1], [2.5]])
    np.testing.assert_array_equal(rows_in(table, {"inputs": dict(zip(FEATURES, ROWS[0], strict=True))}), EXPECTED[:1])


def test_columns_that_the_model_does_not_use_are_dropped_wherever_they_stand() -> None:
    for body in (
        {"dataframe_split": {"columns": ["id", "x"], "data": [["r1", 4]]}},
        {"dataframe_records": [{"id": {"any": "thing"}, "x": 4}]},
        {"inputs": {"id": ["r1"], "x": [4]}},
    ):
        np.testing.assert_array_equal(rows_in(one, body), [[4]])


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "Application/JSON; charset=UTF-8", 'application/json; charset="utf-8"']
)
def test_json_is_what_is_called_so_and_what_is_called_nothing(content_type: str | None) -> None:
    assert rows_in(table, {"inputs": ROWS}, content_type).shape == (2, 3)


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("text/plain", 'application/json and text/csv, not "text/plain"'),
        ("application/vnd.apache.parquet", "application/json and text/csv"),
        ("application/x-www-form-urlencoded", "as in curl -H 'Content-Type: application/json'"),
        ("application/json; charset=latin-1", 'the charset must be utf-8, got "latin-1"'),
        ("text/csv; charset=utf-16", 'the charset must be utf-8, got "utf-16"'),
        ("text/csv; header=present", 'unknown parameter "header"'),
        ("x" * 1000, "x" * 100 + "…"),
    ],
)
def test_any_other_content_type_is_refused_in_plain_text(content_type: str, message: str) -> None:
    request = request_of({"inputs": ROWS}, content_type)
    with pytest.raises(UnsupportedMedia) as caught:
        table.parse(request)
    reply = refuse(caught.value, request)
    assert (reply.status, reply.content_type) == (415, "text/plain; charset=utf-8")
    assert message in reply.body.decode()


def test_images_are_not_sent_as_csv() -> None:
    with pytest.raises(UnsupportedMedia, match="images"):
        image.parse(request_of(b"0,1\n1,2", "text/csv"))


@pytest.mark.parametrize("quote", ["", '"'])
def test_tensors_under_sagemakers_content_type_are_read_and_answered_as_tensors(quote: str) -> None:
    head = b'{"inputs": [{"name": "inputs", "shape": [2, 3], "datatype": "FP64", "parameters": {"binary_data_size": 48}}]}'
    kind = f"application/vnd.sagemaker-triton.binary+json; json-header-size={quote}{len(head)}{quote}"
    work = table.parse(request_of(head + np.array(ROWS, dtype="<f8").tobytes(), kind))
    np.testing.assert_array_equal(work.rows, np.array(ROWS, dtype=np.float32))
    answer = json.loads(work.encode(np.array([[0.25, 0.75], [1, 0]], dtype=np.float32)).body)
    assert [output["name"] for output in answer["outputs"]] == ["probabilities", "label"]
