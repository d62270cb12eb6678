"""`POST /predict`: which bodies are read as what, what a reply holds, and how a refusal looks."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import (
    InvalidInput,
    NotReady,
    Overloaded,
    Refusal,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)
from serving.exchange import Request
from serving.protocols.native import Codec, refuse
from tests.serving.asking import body_of, facts_of, request_of, rows_in
from tests.serving.conftest import IMAGE, MESSY, PICTURE, REGRESSION, TABLE, expected_of, rows_of

table, messy, image, picture, regression = (Codec(facts_of(schema)) for schema in (TABLE, MESSY, IMAGE, PICTURE, REGRESSION))
CSV = b"age,body mass,gr\xc3\xb6\xc3\x9fe.cm[1]\n1,2,3\n"


def npy(rows: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


def asked(query: str, rows: Any = ((1.0, 2.0, 3.0),)) -> Request:
    return Request("POST", "/predict", query, lambda _: None, json.dumps({"inputs": rows}).encode())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"inputs": [[1, 2, 3]]}, "application/json"),
        ({"inputs": [[1, 2, 3]]}, "Application/JSON; charset=utf-8"),
        ({"inputs": [[1, 2, 3]]}, None),
        ({"inputs": [[1, 2, 3]]}, "application/x-www-form-urlencoded"),
        (CSV, "text/csv"),
        (CSV, 'Text/CSV; header=present; charset="UTF-8"'),
        (npy([[1, 2, 3]]), "application/x-npy"),
        (npy([1.0, 2.0, 3.0]), "application/x-npy"),
    ],
)
def test_the_same_rows_arrive_by_every_content_type(body: Any, content_type: str | None) -> None:
    np.testing.assert_array_equal(rows_in(table, body, content_type), [[1, 2, 3]])


@pytest.mark.parametrize(
    ("codec", "body", "content_type", "error", "message"),
    [
        (image, CSV, "text/csv", UnsupportedMedia, "this model takes images"),
        (messy, npy([[1]]), "application/x-npy", UnsupportedMedia, "this model takes cells that are not all numbers"),
        (table, b"x", "image/png", UnsupportedMedia, "this model takes rows of a table as JSON, not image/png"),
        (table, CSV, "text/csv; charset=latin-1", UnsupportedMedia, "CSV is read as UTF-8, not as latin-1"),
        (table, npy([[1, 2, 3]]), "application/json", InvalidInput, "the body is an .npy file; send it with the Content-Type"),
        (picture, b"\x89PNG\r\n\x1a\n", None, InvalidInput, "the body is a picture, sent without a Content-Type"),
        (table, CSV, None, InvalidInput, "the body is not JSON: "),
    ],
)
def test_what_a_model_does_not_take_is_told_apart_from_what_came_under_a_wrong_name(
    codec: Codec, body: bytes, content_type: str | None, error: type[Refusal], message: str
) -> None:
    with pytest.raises(Refusal) as caught:
        codec.parse(request_of(body, content_type))
    assert type(caught.value) is error
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("codec", [table, image, regression])
def test_a_reply_holds_an_answer_for_each_row_and_the_model_that_gave_it(codec: Codec) -> None:
    schema = codec._schema
    rows = rows_of(schema, 3)
    work = codec.parse(request_of({"inputs": rows.tolist()}))
    np.testing.assert_array_equal(work.rows, rows)
    outputs = expected_of(schema, work.rows)
    reply = work.encode(outputs)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert body_of(reply)["model"] == {"name": "tiny", "version": "7", "digest": "a" * 64}
    for answer, expected in zip(body_of(reply)["predictions"], outputs.tolist(), strict=True):
        if schema.task == "regression":
            assert answer == {"value": expected[0]}
        else:
            assert answer["probabilities"] == dict(zip(schema.classes, expected, strict=True))
            assert (answer["label"], answer["score"]) == max(answer["probabilities"].items(), key=lambda pair: pair[1])


def test_an_answer_that_is_not_finite_is_refused_and_never_written() -> None:
    with pytest.raises(InvalidInput, match="^row 0: the model has no finite answer"):
        regression.parse(request_of({"inputs": [[1, 2]]})).encode(np.array([[np.nan]], dtype=np.float32))


def test_top_k_leaves_the_most_likely_classes_the_first_of_them_first() -> None:
    outputs = np.array([[0.25, 0.125, 0.625], [0.25, 0.5, 0.25]], dtype=np.float32)
    for count in (1, 2, 3):
        reply = image.parse(asked(f"top_k={count}", [[[0, 0], [0, 0]]] * 2)).encode(outputs)
        found = [list(one["probabilities"].items()) for one in body_of(reply)["predictions"]]
        assert found == [[("2", 0.625), ("0", 0.25), ("1", 0.125)][:count], [("1", 0.5), ("0", 0.25), ("2", 0.25)][:count]]


@pytest.mark.parametrize("value", ["0", "3", "-1", "1.0", "", "two", "²", "9" * 5000])
def test_a_top_k_that_is_no_number_of_classes_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="^expected a whole number from 1 to 2, got ") as caught:
        table.parse(asked(f"top_k={value}"))
    assert caught.value.field == "top_k"
    assert len(str(caught.value)) < 200


def test_parameters_that_there_are_not_are_refused_and_the_one_that_there_is_is_named() -> None:
    with pytest.raises(InvalidInput, match="^unknown parameter; there is `top_k`$") as caught:
        table.parse(asked("topk=1"))
    assert caught.value.field == "topk"
    with pytest.raises(InvalidInput, match="there twice"):
        table.parse(asked("top_k=1&top_k=2"))
    with pytest.raises(InvalidInput, match="^only classes are ranked, and this model's task is regression$"):
        regression.parse(asked("top_k=1", [[1.0, 2.0]]))


STRICT_TABLE, STRICT_IMAGE, STRICT_MESSY = (Codec(facts_of(schema, strict=True)) for schema in (TABLE, IMAGE, MESSY))


@pytest.mark.parametrize(
    ("codec", "body", "content_type", "field", "named"),
    [
        (STRICT_TABLE, {"inputs": [[1, 2, 2], [1, 2, 2.01]]}, None, "inputs[1][2]", ("2.01", "-2", "2")),
        (STRICT_TABLE, CSV, "text/csv", "rows[0].größe.cm[1]", ("3", "-2", "2")),
        (STRICT_TABLE, npy([[0, 0, 0], [-3, 0, 0]]), "application/x-npy", "inputs[1][0]", ("-3", "-2", "2")),
        (STRICT_IMAGE, {"inputs": [[[0, 1], [1, 1.5]]]}, None, "inputs[0][1][1]", ("1.5", "0", "1")),
        (STRICT_MESSY, {"records": [{"age": 91, "member": True, "mass": 2}]}, None, "records[0].age", ("91", "0", "90")),
        (STRICT_MESSY, {"records": [{"member": True, "mass": 2, "city": "Rome"}]}, None, "records[0].city", ("category",)),
        (
            STRICT_MESSY,
            {"inputs": [[1, True, "Bern", "2025-01-01", 2]]},
            None,
            "inputs[0][3]",
            ("2025-01-01", "1970-01-01", "2024-10-04"),
        ),
        (STRICT_MESSY, {"inputs": [[1, True, "Bern", "2024-01-01", 9.5]]}, None, "inputs[0][4]", ("9.5", "1", "9")),
    ],
)
def test_a_strict_service_refuses_what_no_train_row_had_with_its_place_and_what_is_allowed(
    codec: Codec, body: Any, content_type: str | None, field: str, named: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        codec.parse(request_of(body, content_type))
    assert caught.value.field == field
    assert all(word in str(caught.value) for word in named)
    lenient = Codec(facts_of(codec._schema))
    assert len(lenient.parse(request_of(body, content_type)).rows) >= 1


def test_a_strict_service_takes_what_the_train_rows_had_and_what_is_missing() -> None:
    assert rows_in(STRICT_TABLE, {"inputs": [[-2, 0, 2]]}).shape == (1, 3)
    assert rows_in(STRICT_MESSY, {"records": [{"member": "no", "mass": 9, "joined": "2024-10-04T23:59"}]}).shape == (1, 6)


@pytest.mark.parametrize(
    ("refusal", "status", "error", "headers"),
    [
        (
            InvalidInput("no", field="inputs[0]"),
            400,
            {"code": "invalid_input", "message": "no", "field": "inputs[0]"},
            [],
        ),
        (TooLarge("no"), 413, {"code": "request_entity_too_large", "message": "no"}, []),
        (NotReady("no"), 503, {"code": "not_ready", "message": "no"}, []),
        (Overloaded("no", retry_after=3), 503, {"code": "overloaded", "message": "no"}, [("Retry-After", "3")]),
        (Unauthorized("no"), 401, {"code": "unauthorized", "message": "no"}, [("WWW-Authenticate", "Bearer")]),
        (InvalidInput("\ud800", field="a\udfff"), 400, {"code": "invalid_input", "message": "?", "field": "a?"}, []),
    ],
)
def test_a_refusal_is_an_error_of_code_message_and_field_with_the_headers_that_belong_to_it(
    refusal: Refusal, status: int, error: dict[str, str], headers: list[tuple[str, str]]
) -> None:
    reply = refuse(refusal, request_of(b""))
    assert (reply.status, body_of(reply), reply.headers) == (status, {"error": error}, headers)


contents = st.binary(max_size=200) | st.sampled_from([CSV, npy([[1, 2, 3]]), b'{"inputs": [[1, 2, 3]]}'])
types = st.sampled_from(
    ["application/json", "text/csv", "application/x-npy", "image/png", "multipart/form-data; boundary=x", ""]
)


@given(
    body=contents,
    content_type=types,
    cut=st.integers(0, 200),
    query=st.sampled_from(["", "top_k=1", "a"]) | st.text(max_size=9),
)
def test_any_bytes_of_any_type_are_rows_or_refused(body: bytes, content_type: str, cut: int, query: str) -> None:
    messages = []
    for codec in (table, messy, image, picture):
        request = Request("POST", "/predict", query, {"content-type": content_type}.get, body[:cut])
        try:
            rows = codec.parse(request).rows
        except Refusal as refused:
            reply = refuse(refused, request)
            messages.append(body_of(reply)["error"]["message"])
            continue
        assert rows.shape == (len(rows), *codec._schema.shape)
    assert all(messages)
