"""MLflow's scoring protocol: each form of input, each refusal in its dialect, and MLflow's own clients over a socket."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.columns import Encoder
from serving.errors import (
    DeadlineExceeded,
    Failed,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    Refusal,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)
from serving.protocols.mlflow_scoring import VERSION, Codec, ping, refuse, version
from serving.schema import Feature, Schema
from tests.serving.asking import body_of, facts_of, request_of, rows_in, trees
from tests.serving.conftest import (
    FEATURES,
    IMAGE,
    MESSY,
    REGRESSION,
    TABLE,
    rows_of,
)

ROWS = [[1.0, 2.0, 0.5], [-1.0, 0.25, 1.5]]
EXPECTED = np.array(ROWS, dtype=np.float32)
TURNED = [FEATURES[2], FEATURES[0], FEATURES[1]]  # the same columns in another order
TURNED_ROWS = [[row[2], row[0], row[1]] for row in ROWS]
CELLS: list[list[Any]] = [[30, True, "Bern", "2001-02-03", 2.5], [41.5, "no", "Rome", "2010-11-12", 7]]
NAMES = [feature.name for feature in MESSY.features]
ONE = Schema(
    task="regression",
    kind="table",
    shape=(1,),
    target="y",
    minimum=0,
    maximum=9,
    features=(Feature("x", 0, 9),),
    unused=("id",),
)
TARGETS = Schema(
    task="regression",
    kind="table",
    shape=(2,),
    target="length, width",
    minimum=0,
    maximum=9,
    targets=("length", "width"),
    features=(Feature("a", 0, 9), Feature("b", 0, 9)),
)
LABELS = Schema(
    task="multilabel",
    kind="table",
    shape=(1,),
    target="t",
    minimum=0,
    maximum=9,
    classes=("red", "round"),
    features=(Feature("x", 0, 9),),
)

table, messy, image, one = (Codec(facts_of(schema)) for schema in (TABLE, MESSY, IMAGE, ONE))


def records(names: Any, rows: Any) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def columns(names: Any, rows: Any) -> dict[str, Any]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def csv_of(names: Any, rows: Any) -> bytes:
    return "\n".join(",".join(str(cell) for cell in line) for line in [names, *rows]).encode()


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


SPLIT = "dataframe_split"
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
TREES = trees(WORDS)


@given(
    body=TREES | st.dictionaries(st.sampled_from(WORDS), TREES, max_size=3),
    codec=st.sampled_from([table, messy, image, one]),
)
def test_whatever_is_sent_becomes_rows_or_a_refusal(body: Any, codec: Codec) -> None:
    with contextlib.suppress(InvalidInput):
        assert len(codec.parse(request_of(body)).rows) > 0


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


def answer(schema: Schema, outputs: list[list[float]]) -> Any:
    work = Codec(facts_of(schema)).parse(request_of({"inputs": rows_of(schema, len(outputs)).tolist()}))
    reply = work.encode(np.array(outputs, dtype=np.float32))
    assert (reply.status, reply.content_type) == (200, "application/json")
    body = body_of(reply)
    assert body.pop("model") == {"name": "tiny", "version": "7", "digest": "a" * 64}
    return body


def test_the_answer_has_an_entry_for_each_row() -> None:
    assert answer(REGRESSION, [[1.5], [2.5]]) == {"predictions": [1.5, 2.5]}
    assert answer(TARGETS, [[1, 2], [3, 4]]) == {"predictions": [{"length": 1, "width": 2}, {"length": 3, "width": 4}]}
    assert answer(TABLE, [[0.25, 0.75]]) == {
        "predictions": [{"label": "yes", "score": 0.75, "probabilities": {"no": 0.25, "yes": 0.75}}]
    }
    assert answer(LABELS, [[0.75, 0.25]]) == {
        "predictions": [{"labels": ["red"], "probabilities": {"red": 0.75, "round": 0.25}}]
    }


@pytest.mark.parametrize("schema", [REGRESSION, TARGETS, TABLE])
def test_an_answer_that_is_not_finite_is_refused(schema: Schema) -> None:
    with pytest.raises(InvalidInput, match="row 1: the model has no finite answer"):
        answer(schema, [[1.0] * schema.outputs, [float("nan")] * schema.outputs])


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Unauthorized("no"), 401, "UNAUTHENTICATED"),
        (NotFound("no"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (TooLarge("no"), 413, "BAD_REQUEST"),
        (Failed(), 500, "INTERNAL_ERROR"),
        (NotReady("no"), 503, "TEMPORARILY_UNAVAILABLE"),
        (Overloaded("no", retry_after=7), 503, "TEMPORARILY_UNAVAILABLE"),
        (DeadlineExceeded("no"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_refusals_carry_mlflows_names(refusal: Refusal, status: int, code: str) -> None:
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS

    reply = refuse(refusal, request_of({}))
    assert (reply.status, body_of(reply)) == (status, {"error_code": code, "message": str(refusal)})
    assert code == "BAD_REQUEST" or ERROR_CODE_TO_HTTP_STATUS[code] == status
    headers = dict(reply.headers)
    assert headers.get("Retry-After") == (None if refusal.retry_after is None else "7")
    assert headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


def test_probes_answer_as_mlflows_server_does() -> None:
    assert [(reply.status, reply.body, reply.content_type) for reply in (ping(True), ping(False))] == [
        (200, b"\n", "application/json"),
        (503, b"\n", "application/json"),
    ]
    found = version()
    assert (found.status, found.body.decode(), found.content_type) == (200, VERSION, "application/json")


@pytest.mark.parametrize("quote", ["", '"'])
def test_tensors_under_sagemakers_content_type_are_read_and_answered_as_tensors(quote: str) -> None:
    head = b'{"inputs": [{"name": "inputs", "shape": [2, 3], "datatype": "FP64", "parameters": {"binary_data_size": 48}}]}'
    kind = f"application/vnd.sagemaker-triton.binary+json; json-header-size={quote}{len(head)}{quote}"
    work = table.parse(request_of(head + np.array(ROWS, dtype="<f8").tobytes(), kind))
    np.testing.assert_array_equal(work.rows, np.array(ROWS, dtype=np.float32))
    answer = json.loads(work.encode(np.array([[0.25, 0.75], [1, 0]], dtype=np.float32)).body)
    assert [output["name"] for output in answer["outputs"]] == ["probabilities", "label"]
