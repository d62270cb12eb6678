"""MLflow's scoring protocol: what is refused, with its place."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput, TooLarge
from serving.protocols.mlflow_scoring import Codec, refuse
from serving.schema import Schema
from tests.serving.asking import bodies, body_of, facts_of, request_of, rows_in
from tests.serving.conftest import FEATURES, IMAGE, MESSY, TABLE
from tests.serving.forms import NAMES, ROWS, TURNED, codecs, columns, csv_of, records

SPLIT = "dataframe_split"
table, messy, image, one = codecs(Codec)
BAD = "expected a number, got a string"
REFUSED: list[tuple[Codec, Any, str | None, str]] = [
    # the form
    (table, {}, None, "got none of the forms; send exactly one of"),
    (table, {"params": {}}, None, "got none of the forms"),
    (table, {"messages": []}, None, "got none of the forms"),
    (table, {"inputs": ROWS, "instances": ROWS}, None, "got `instances` and `inputs` of the forms"),
    (table, [[1, 2, 3]], None, "the body must be an object, got a list"),
    (table, 3, None, "the body must be an object, got a number"),
    (table, b"", None, "the body is empty; send exactly one of"),
    (table, b'{"inputs": [[1, 2, 3]', None, "the body is not JSON: "),
    (table, b'{"inputs": [[1, 2, 3]], "inputs": []}', "inputs", "the key is there twice"),
    (table, b'{"inputs": ' + b"[" * 5000, "inputs" + "[0]" * 31, "values are nested too deeply"),
    (table, {"inputs": ROWS, "params": {"top_k": 1}}, "params", "this model takes no parameters, got an object"),
    (table, {"inputs": ROWS, "params": []}, "params", "this model takes no parameters, got a list"),
    (table, {"inputs": ROWS, "params": "x"}, "params", "this model takes no parameters, got a string"),
    # dataframe_split
    (table, {SPLIT: ROWS}, SPLIT, "expected an object with `columns` and `data`, got a list"),
    (table, {SPLIT: {"columns": []}}, f"{SPLIT}.data", "required, but missing"),
    (table, {SPLIT: {"data": ROWS, "dtypes": []}}, f"{SPLIT}.dtypes", "unknown key"),
    (table, {SPLIT: {"data": ROWS, "index": [0]}}, f"{SPLIT}.index", "expected a list with a label for each row"),
    (table, {SPLIT: {"data": ROWS, "index": "ab"}}, f"{SPLIT}.index", "expected a list with a label for each row"),
    (table, {SPLIT: {"data": ROWS, "columns": "abc"}}, f"{SPLIT}.columns", "expected a list of names, got a string"),
    (table, {SPLIT: {"data": ROWS, "columns": [*FEATURES[:2], None]}}, f"{SPLIT}.columns[2]", "expected a name, got null"),
    (table, {SPLIT: {"data": ROWS, "columns": [*FEATURES, "age"]}}, f"{SPLIT}.columns", '"age" is there twice'),
    (table, {SPLIT: {"data": ROWS, "columns": list(FEATURES[:2])}}, f"{SPLIT}.columns: {FEATURES[2]}", "required, but missing"),
    (table, {SPLIT: {"data": ROWS, "columns": [*FEATURES, "hue"]}}, f"{SPLIT}.columns: hue", "the model has no such feature"),
    (table, {SPLIT: {"data": [[1, 2, 3], [1, 2]], "columns": TURNED}}, f"{SPLIT}.data[1]", "expected 3 values, one for each"),
    (table, {SPLIT: {"data": [3], "columns": TURNED}}, f"{SPLIT}.data[0]", "expected a list, got a number"),
    (table, {SPLIT: {"data": [[1, "2", 3]], "columns": TURNED}}, f"{SPLIT}.data[0][1]", BAD),
    (table, {SPLIT: {"data": [[1, "2", 3]]}}, f"{SPLIT}.data[0][1]", BAD),
    (table, {SPLIT: {"data": {}, "columns": TURNED}}, f"{SPLIT}.data", "expected a list of rows, got an object"),
    # rows, records, columns
    (table, {"dataframe_records": {"age": 1}}, "dataframe_records", "expected a list of rows, got an object"),
    (table, {"dataframe_records": [[1, 2, 3]]}, "dataframe_records[0]", "expected an object, got a list"),
    (table, {"dataframe_records": [{"age": 1}]}, "dataframe_records[0].body mass", "required, but missing"),
    (table, {"instances": [{**records(FEATURES, ROWS)[0], "hue": 1}]}, "instances[0].hue", "the model has no such feature"),
    (table, {"instances": [{**records(FEATURES, ROWS)[0], "age": "old"}]}, "instances[0].age", BAD),
    (table, {"instances": []}, "instances", "must hold at least one row"),
    (table, {"instances": "rows"}, "instances", "expected a list of rows, got a string"),
    (table, {"instances": [ROWS[0], ROWS[0][:2]]}, "instances[1]", "expected 3 values, got 2"),
    (table, {"instances": [ROWS[0], {}]}, "instances[1]", "expected a list of 3, got an object"),
    (table, {"instances": [[1, True, 3]]}, "instances[0][1]", "expected a number, got a boolean"),
    (table, {"instances": [[1, None, 3]]}, "instances[0][1]", "expected a number, got null"),
    (table, {"instances": [[1, [2], 3]]}, "instances[0][1]", "expected a number, got a list"),
    (table, {"instances": [[1, 1e39, 3]]}, "instances[0][1]", "does not fit into 32-bit floating point"),
    (table, b'{"instances": [[1, ' + b"9" * 400 + b", 3]]}", "instances[0][1]", "does not fit into 32-bit floating point"),
    (table, {"instances": [[1, float("nan"), 3]]}, "instances[0][1]", "JSON has neither NaN nor Infinity"),
    (messy, {"instances": [[1, "no", "Bern", None, float("inf")]]}, "instances[0][4]", "JSON has neither NaN nor Infinity"),
    (messy, {"instances": [[1, "no", "Bern", None, float("nan")]]}, "instances[0][4]", "is null, and no row"),
    (messy, {"instances": [[1, "maybe", "Bern", None, 2]]}, "instances[0][1]", "expected true or false"),
    (messy, {"inputs": columns(NAMES, [[1, "no", {}, None, 2]])}, "inputs.city[0]", "got an object"),
    (
        messy,
        {"dataframe_records": records(NAMES, [[1, "no", "Bern", "May", 2]])},
        "dataframe_records[0].joined",
        "expected a date",
    ),
    (table, {"inputs": columns(FEATURES, ROWS) | {"age": [1]}}, "inputs.body mass", 'expected 1 values, as in "age", got 2'),
    (table, {"inputs": columns(FEATURES, ROWS) | {"age": 1}}, "inputs.age", "expected a list with a value for each row"),
    (table, {"inputs": columns(FEATURES, [])}, "inputs", "must hold at least one row"),
    (table, {"inputs": columns(FEATURES[:2], ROWS)}, f"inputs.{FEATURES[2]}", "required, but missing"),
    (table, {"inputs": dict(zip(FEATURES, [1, "b", 3], strict=True))}, "inputs.body mass", BAD),
    (table, {"inputs": {}}, "inputs.age", "required, but missing"),
    # images
    (image, {SPLIT: {"data": [[1, 2, 3, 4]]}}, SPLIT, "this model takes images, not columns: send arrays of 2 × 2 numbers"),
    (image, {"dataframe_records": [{"0": 1}]}, "dataframe_records", "this model takes images"),
    (image, {"instances": [{"0": 1}]}, "instances", "this model takes images"),
    (image, {"inputs": {"image": [[1, 2], [3, 4]]}}, "inputs", "this model takes images"),
    (image, {"inputs": [[1, 2], [3, 4]]}, "inputs[0][0]", "expected a list of 2, got a number"),
    (image, {"inputs": [[[1, 2], [3]]]}, "inputs[0][1]", "expected 2 values, got 1"),
    (image, {"inputs": [[[1, 2], [3, "4"]]]}, "inputs[0][1][1]", BAD),
]


@pytest.mark.parametrize(("codec", "body", "field", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(codec: Codec, body: Any, field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        codec.parse(request_of(body))
    assert message in str(caught.value)
    assert caught.value.field == field
    reply = refuse(caught.value, request_of(body))
    assert (reply.status, body_of(reply)["error_code"]) == (400, "BAD_REQUEST")
    assert body_of(reply)["message"] == (f"{field}: {caught.value}" if field else str(caught.value))


WORDS = ["dataframe_split", "dataframe_records", "instances", "inputs", "params", "columns", "data", "index", "x", *FEATURES]


@given(body=bodies(WORDS), codec=st.sampled_from([table, messy, image, one]))
def test_whatever_is_sent_becomes_rows_or_a_refusal(body: Any, codec: Codec) -> None:
    with contextlib.suppress(InvalidInput):
        assert len(codec.parse(request_of(body)).rows) > 0


@pytest.mark.parametrize(
    "form", [{"inputs": ROWS}, {"inputs": columns(FEATURES, ROWS)}, {SPLIT: {"columns": TURNED, "data": ROWS}}]
)
def test_more_values_than_one_request_may_hold_are_refused(form: Any) -> None:
    with pytest.raises(TooLarge):
        Codec(facts_of(TABLE, values=5)).parse(request_of(form))
    assert rows_in(Codec(facts_of(TABLE, values=9)), form).shape == (2, 3)


STRICT: list[tuple[Schema, Any, str, str]] = [
    (TABLE, {"instances": [[1, 2, 0.5], [1, 2.5, 0]]}, "instances[1][1]", "2.5 is outside -2 to 2"),
    (TABLE, {SPLIT: {"columns": TURNED, "data": [[0, 3, 0]]}}, f"{SPLIT}.data[0][1]", "3 is outside -2 to 2"),
    (TABLE, csv_of(FEATURES, [[1, 2, 9]]), f"rows[0].{FEATURES[2]}", "9 is outside -2 to 2"),
    (IMAGE, {"inputs": [[[0, 1], [0, 1.5]]]}, "inputs[0][1][1]", "1.5 is outside 0 to 1"),
    (MESSY, {"inputs": columns(NAMES, [[1, True, "Rome", None, 2]])}, "inputs.city[0]", "is a category that no train row had"),
    (
        MESSY,
        {"dataframe_records": records(NAMES, [[1, True, "3", None, 20]])},
        "dataframe_records[0].mass",
        "20 is outside 1 to 9",
    ),
]


@pytest.mark.parametrize(("schema", "body", "field", "message"), STRICT)
def test_in_strict_mode_what_training_never_saw_is_refused_and_otherwise_taken(
    schema: Schema, body: Any, field: str, message: str
) -> None:
    content_type = "text/csv" if isinstance(body, bytes) else "application/json"
    with pytest.raises(InvalidInput, match=message) as caught:
        rows_in(Codec(facts_of(schema, strict=True)), body, content_type)
    assert caught.value.field == field
    rows_in(Codec(facts_of(schema)), body, content_type)
