"""The protocol of TensorFlow Serving and Vertex AI: both forms of rows, and errors in its dialect."""

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.columns import Encoder
from serving.errors import InvalidInput, Overloaded, Refusal, TooLarge, Unauthorized, UnsupportedMedia
from serving.protocols.instances import Codec, refuse, status
from tests.serving.asking import bodies, body_of, facts_of, request_of, rows_in
from tests.serving.conftest import FEATURES, IMAGE, MESSY, REGRESSION, TABLE, rows_of
from tests.serving.forms import EXPECTED, ROWS, codecs, columns, records

RECORDS, COLUMNS = records(FEATURES, ROWS), columns(FEATURES, ROWS)
CELLS: list[list[Any]] = [[30, True, "Bern", "2001-02-03", 2.5], [None, "no", "Rome", None, 7]]
table, messy, image, one = codecs(Codec)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ROWS},
        {"instances": RECORDS, "parameters": {}},
        {"instances": [dict(reversed(record.items())) for record in RECORDS], "signature_name": "serving_default"},
        {"inputs": ROWS},
        {"inputs": COLUMNS, "parameters": None},
        {"signature_name": "", "inputs": dict(reversed(COLUMNS.items()))},
    ],
)
def test_rows_and_columns_give_the_same_numbers(body: Any) -> None:
    np.testing.assert_array_equal(rows_in(table, body), EXPECTED)


def test_cells_of_every_kind_images_and_bare_values_are_taken() -> None:
    np.testing.assert_array_equal(rows_in(messy, {"instances": CELLS}), Encoder(MESSY).encode(CELLS))
    pictures = rows_of(IMAGE, 3)
    np.testing.assert_array_equal(rows_in(image, {"instances": pictures.tolist()}), pictures)
    for body in (
        {"instances": [1, 2.5]},
        {"instances": [[1], [2.5]]},
        {"instances": [{"x": 1}, {"x": 2.5}]},
        {"inputs": {"x": [1, 2.5]}},
    ):
        np.testing.assert_array_equal(rows_in(one, body), [[1], [2.5]])


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/x-www-form-urlencoded"])
def test_what_curl_sends_by_itself_is_read_as_json(content_type: str | None) -> None:
    assert rows_in(table, {"instances": ROWS}, content_type).shape == (2, 3)


@pytest.mark.parametrize("content_type", ["text/csv", "image/png", "application/xml"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia, match="takes application/json"):
        table.parse(request_of({"instances": ROWS}, content_type))


REFUSED: list[tuple[Codec, Any, str | None, str]] = [
    (table, [], None, "the body must be an object, got a list"),
    (table, {}, None, "exactly one of `instances` and `inputs`"),
    (table, {"instances": ROWS, "inputs": ROWS}, None, "exactly one of `instances` and `inputs`"),
    (table, {"instances": ROWS, "rows": 1}, "rows", "unknown key"),
    (table, {"instances": ROWS, "parameters": {"confidence": 0.5}}, "parameters", "takes no parameters"),
    (
        table,
        {"instances": ROWS, "signature_name": "classify"},
        "signature_name",
        'one signature, serving_default, got "classify"',
    ),
    (table, {"instances": ROWS, "signature_name": 3}, "signature_name", "got a number"),
    (table, {"instances": ROWS, "signature_name": {}}, "signature_name", "got an object"),
    (table, {"instances": ROWS, "signature_name": []}, "signature_name", "got a list"),
    (table, b'{"instances": [[1, 2, 3]], "instances": [[1, 2, 3]]}', "instances", "the key is there twice"),
    (table, {"instances": []}, "instances", "must hold at least one row"),
    (table, {"instances": [3]}, "instances[0]", "expected a list of 3, got a number"),
    (table, {"instances": [[1, 2, float("nan")]]}, "instances[0][2]", "JSON has neither NaN nor Infinity"),
    (messy, {"instances": [[1, True, "Bern", None, float("nan")]]}, "instances[0][4]", "JSON has neither NaN nor Infinity"),
    (table, {"instances": [RECORDS[0], {"age": 1}]}, "instances[1].body mass", "required, but missing"),
    (table, {"instances": [RECORDS[0], ROWS[0]]}, "instances[1]", "expected an object, got a list"),
    (table, {"inputs": {**COLUMNS, "hue": [1, 2]}}, "inputs.hue", "the model has no such feature"),
    (one, {"instances": [[1], "2"]}, "instances[1][0]", "expected a number, got a string"),
    (image, {"instances": [{"b64": "AAAA"}]}, "instances", "this model takes images, not columns"),
]


@pytest.mark.parametrize(("codec", "body", "field", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(codec: Codec, body: Any, field: str | None, message: str) -> None:
    request = request_of(body)
    with pytest.raises(InvalidInput) as caught:
        codec.parse(request)
    assert message in str(caught.value)
    assert caught.value.field == field
    reply = refuse(caught.value, request)
    assert reply.status == 400
    assert body_of(reply) == {"error": f"{field}: {caught.value}" if field else str(caught.value)}


WORDS = ["instances", "inputs", "parameters", "signature_name", "x", *FEATURES]


@given(body=bodies(WORDS), codec=st.sampled_from([table, messy, image, one]))
def test_whatever_is_sent_becomes_rows_or_a_refusal(body: Any, codec: Codec) -> None:
    with contextlib.suppress(InvalidInput):
        assert len(codec.parse(request_of(body)).rows) > 0


def test_limits_and_strict_mode_hold_here_too() -> None:
    with pytest.raises(TooLarge):
        Codec(facts_of(TABLE, values=5)).parse(request_of({"instances": ROWS}))
    with pytest.raises(InvalidInput, match="is outside -2 to 2") as caught:
        Codec(facts_of(TABLE, strict=True)).parse(request_of({"inputs": {**COLUMNS, "age": [1, 5]}}))
    assert caught.value.field == "inputs.age[1]"


@pytest.mark.parametrize(
    ("body", "key"), [({"instances": [[1, 2]]}, "predictions"), ({"inputs": {"rooms": [1], "floor": [2]}}, "outputs")]
)
def test_each_form_has_its_own_key_in_the_answer(body: Any, key: str) -> None:
    facts = facts_of(REGRESSION)
    reply = Codec(facts).parse(request_of(body)).encode(np.array([[1.5]], dtype=np.float32))
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert body_of(reply) == {key: [1.5], "model": facts.identity}


@pytest.mark.parametrize(
    ("refusal", "header"),
    [(Overloaded("no", retry_after=3), ("Retry-After", "3")), (Unauthorized("no"), ("WWW-Authenticate", "Bearer"))],
)
def test_refusals_say_what_to_do_in_headers(refusal: Refusal, header: tuple[str, str]) -> None:
    reply = refuse(refusal, request_of({}))
    assert (reply.status, body_of(reply), reply.headers) == (refusal.status, {"error": "no"}, [header])


@pytest.mark.parametrize(("ready", "state"), [(True, "AVAILABLE"), (False, "LOADING")])
def test_the_models_state_is_told_as_tensorflow_serving_tells_it(ready: bool, state: str) -> None:
    entry = {"version": "7", "state": state, "status": {"error_code": "OK", "error_message": ""}}
    assert body_of(status(facts_of(TABLE), ready)) == {"model_version_status": [entry]}
