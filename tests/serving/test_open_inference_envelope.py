"""Open Inference Protocol v2 around the tensors: where the JSON ends, what it may ask for, and what comes back."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput, NotFound, Overloaded, Refusal, TooLarge
from serving.protocols.open_inference import Codec, refuse
from serving.schema import Schema
from tests.serving.asking import facts_of
from tests.serving.conftest import IMAGE, MESSY, REGRESSION, rows_of
from tests.serving.test_open_inference import (
    LENGTH,
    ask,
    binary,
    elements,
    float32,
    parts_of,
    refused,
    request_of,
    tensor,
    whole,
)

LABELS = Schema(task="multilabel", kind="table", shape=(2,), target="t", minimum=0, maximum=1, classes=("a", "b"))


@pytest.mark.parametrize("length", ["-1", "1e1", "", "999999", "٣", "9" * 5000])
def test_a_header_length_outside_the_body_is_refused(length: str) -> None:
    with pytest.raises(InvalidInput) as found:
        Codec(facts_of(IMAGE)).parse(request_of(b"{}", **{LENGTH: length}))
    assert found.value.field == LENGTH


def test_a_header_length_of_nothing_makes_the_body_one_row_and_the_answer_binary() -> None:
    rows = rows_of(IMAGE, 1)
    work = Codec(facts_of(IMAGE)).parse(request_of(rows.tobytes(), **{LENGTH: "0"}))
    np.testing.assert_array_equal(work.rows, rows)
    answer, raw = parts_of(work.encode(float32([[0.2, 0.7, 0.1]])))
    assert raw == float32([0.2, 0.7, 0.1]).tobytes() + elements(b"1")
    assert [output["parameters"] for output in answer["outputs"]] == [{"binary_data_size": 12}, {"binary_data_size": 5}]
    for schema, body in ((IMAGE, rows.tobytes()[:-1]), (MESSY, b"any")):
        with pytest.raises(InvalidInput):
            Codec(facts_of(schema)).parse(request_of(body, **{LENGTH: "0"}))


@pytest.mark.parametrize("vendor", ["sagemaker-triton", "vertex-ai-triton"])
def test_vendors_say_in_the_content_type_where_the_json_ends_and_read_it_there(vendor: str) -> None:
    described, raw = binary("inputs", "FP32", rows_of(IMAGE, 1))
    text = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    kind = f"application/vnd.{vendor}.binary+json"
    codec = Codec(facts_of(IMAGE))
    reply = codec.parse(request_of(text + raw, content_type=f"{kind};json-header-size={len(text)}")).encode(
        float32([[1, 0, 0]])
    )
    size = reply.content_type.removeprefix(f"{kind};json-header-size=")
    assert json.loads(reply.body[: int(size)])["outputs"][0]["parameters"] == {"binary_data_size": 12}
    for bad in ({"content_type": kind}, {"content_type": f"{kind};json-header-size=x"}):
        with pytest.raises(InvalidInput):
            codec.parse(request_of(text + raw, **bad))
    with pytest.raises(InvalidInput, match="send one of them"):
        codec.parse(request_of(text + raw, content_type=f"{kind};json-header-size={len(text)}", **{LENGTH: "1"}))


def test_the_answer_names_model_version_digest_and_the_requests_id() -> None:
    answer, raw = parts_of(ask(IMAGE, whole(), id="r1").encode(float32([[0.25, 0.5, 0.25]])))
    assert raw == b""
    assert answer == {
        "model_name": "tiny",
        "model_version": "7",
        "parameters": {"digest": "a" * 64},
        "id": "r1",
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.25]},
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["1"]},
        ],
    }
    assert "id" not in parts_of(ask(IMAGE, whole()).encode(float32([[1, 0, 0]])))[0]


def test_only_the_outputs_asked_for_come_back_each_as_asked() -> None:
    wanted = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": False}}]
    work = ask(IMAGE, whole(), outputs=wanted, parameters={"binary_data_output": True})
    answer, raw = parts_of(work.encode(float32([[0, 0, 1]])))
    assert raw == elements(b"2")
    assert [output["name"] for output in answer["outputs"]] == ["label", "probabilities"]
    assert answer["outputs"][1]["data"] == [0, 0, 1]


@pytest.mark.parametrize(
    ("outputs", "field"),
    [
        ([{"name": "logits"}], "outputs[0].name"),
        ([{"name": "label"}, {"name": "label"}], "outputs[1].name"),
        ([{"name": "label", "parameters": {"binary_data": 1}}], "outputs[0].parameters.binary_data"),
        ([{"name": "label", "parameters": {"classification": 3}}], "outputs[0].parameters.classification"),
        ([{"name": "label", "parameters": {"shared_memory_region": "x"}}], "outputs[0].parameters"),
        ("label", "outputs"),
    ],
)
def test_outputs_that_cannot_be_given_are_refused(outputs: Any, field: str) -> None:
    assert refused(IMAGE, whole(), outputs=outputs).field == field


@pytest.mark.parametrize(("schema", "name"), [(LABELS, "probabilities"), (REGRESSION, "values")])
def test_other_tasks_answer_with_one_tensor(schema: Schema, name: str) -> None:
    outputs = np.full((2, schema.outputs), 0.5, dtype=np.float32)
    answer, _ = parts_of(ask(schema, tensor("inputs", "FP32", [[1, 1], [1, 1]])).encode(outputs))
    assert [(output["name"], output["shape"]) for output in answer["outputs"]] == [(name, [2, schema.outputs])]


def test_an_answer_that_is_not_finite_is_refused_whatever_was_asked_for() -> None:
    with pytest.raises(InvalidInput, match="row 0: the model has no finite answer"):
        ask(IMAGE, whole(), outputs=[{"name": "label"}]).encode(float32([[np.nan, 0, 1]]))


def test_a_timeout_is_microseconds_and_nothing_else() -> None:
    assert ask(IMAGE, whole(), parameters={"timeout": 5000}).timeout == 0.005
    assert ask(IMAGE, whole(), parameters={"timeout": 0}).timeout is None
    for bad in (-1, 1.5, True, "5", 10**30):
        assert refused(IMAGE, whole(), parameters={"timeout": bad}).field == "parameters.timeout"
    assert refused(IMAGE, whole(), parameters={"binary_data_output": "yes"}).field == "parameters.binary_data_output"


def test_a_request_is_bounded_in_values_and_in_depth() -> None:
    ask(IMAGE, whole(), limits={"values": 4})
    assert isinstance(refused(IMAGE, whole(), limits={"values": 3}), TooLarge)
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert refused(IMAGE, whole(), extra=deep).field == "extra" + "[0]" * 31
    ask(IMAGE, whole(), extra=deep, limits={"depth": 64})
    for body in (b'{"inputs": ' + b"[" * 100_000, b'{"x": ' + b'{"a":' * 100_000 + b'"' + b"]" * 9):
        with pytest.raises(InvalidInput, match="nested too deeply"):
            Codec(facts_of(IMAGE)).parse(request_of(body))


def test_brackets_within_texts_are_no_depth_and_unknown_keys_no_fault() -> None:
    assert ask(IMAGE, whole(note='[[\\"' * 100), model_name="tiny", id="[" * 100, outputs=None, parameters=None).timeout is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"[]", "the body must be an object"),
        (b"{}", "required, but missing"),
        (b'{"inputs": []}', "must hold at least one tensor"),
        (b'{"inputs": [1]}', "inputs[0]: expected an object, got an integer"),
        (
            b'{"inputs": [{"name": "inputs", "shape": [1, 2, 2], "datatype": "FP32", "data": [NaN]}]}',
            "neither NaN nor Infinity",
        ),
        (b'{"inputs": []}\x00\x00', LENGTH),
        (b'{"id": "\xff"}', "not UTF-8"),
        (b'{"inputs": [', "not JSON"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as found:
        Codec(facts_of(IMAGE)).parse(request_of(body))
    assert message in f"{found.value.field}: {found.value}"


@given(body=st.binary(max_size=60), length=st.integers(0, 60))
def test_no_bytes_bring_the_codec_down(body: bytes, length: int) -> None:
    for schema in (IMAGE, MESSY):
        for headers in ({}, {LENGTH: str(length)}):
            try:
                Codec(facts_of(schema)).parse(request_of(body, **headers))
            except Refusal:
                continue


def test_a_refusal_is_one_message_with_its_place_in_front() -> None:
    reply = refuse(InvalidInput("expected a number", field="inputs[0].data[1]"), request_of(b""))
    assert (reply.status, json.loads(reply.body)) == (400, {"error": "inputs[0].data[1]: expected a number"})
    assert refuse(NotFound("no such model"), request_of(b"")).body == msgspec.json.encode({"error": "no such model"})
    busy = refuse(Overloaded("busy", retry_after=3), request_of(b""))
    assert (busy.status, busy.headers) == (503, [("Retry-After", "3")])
