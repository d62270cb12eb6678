"""Rows of Slipway's own JSON that ask for too much, or hide something where the model does not look."""

import json
import time

import msgspec
import pytest

from serving.errors import InvalidInput, Refusal, TooLarge
from serving.facts import Limits
from serving.protocols.json_rows import Decoder
from tests.serving.conftest import TABLE
from tests.serving.test_json_rows import records

OPEN = msgspec.structs.replace(TABLE, unused=("note", "churned"))
NOTED = records((1, 2, 3), note=1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (NOTED.replace(b'"note": 1', b'"note": 1, "note": 2'), "records[0].note"),
        (NOTED.replace(b'"note": 1', b'"note": ' + b"[" * 40 + b"]" * 40), "records[0].note"),
        (NOTED.replace(b'"note": 1', b'"note": ' + b'{"a": ' * 100_000), "records"),
        (NOTED.replace(b'"note": 1', b'"note": [NaN]'), "records[0].note[0]"),
        (NOTED.replace(b'"note": 1', b'"note": [{"a": 1, "a": 2}]'), "records[0].note[0].a"),
    ],
    ids=["twice", "deep", "bottomless", "NaN", "twice within"],
)
def test_columns_that_the_model_does_not_take_are_no_way_around_the_rules_of_json(body: bytes, field: str) -> None:
    decoder = Decoder(OPEN)
    assert len(decoder.decode(NOTED)) == 1
    with pytest.raises(InvalidInput) as caught:
        decoder.decode(body)
    assert caught.value.field == field


def test_brackets_and_keys_within_texts_and_unused_columns_are_counted_as_what_they_are() -> None:
    odd = json.dumps('"age": "[[[{{{\\" , \\').encode()
    body = NOTED.replace(b'"note": 1', b'"note": {"age": [' + odd + b'], "note": {"age": 1}}, "churned": ' + odd)
    assert Decoder(OPEN).decode(body).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (json.dumps({"inputs": [[0, 0, 0]] * 5}).encode(), "inputs"),
        (records(*[(0, 0, 0)] * 5), "records"),
        (b'{"inputs": [' + b"0," * 99, "inputs"),
        (b'{"records": [' + b"{}," * 99, "records"),
    ],
    ids=["inputs", "records", "commas", "objects"],
)
def test_more_values_than_a_request_may_hold_are_too_large(body: bytes, field: str) -> None:
    decoder = Decoder(TABLE, limits=Limits(values=12))
    assert len(decoder.decode(json.dumps({"inputs": [[0, 0, 0]] * 4}).encode())) == 4
    with pytest.raises(TooLarge) as caught:
        decoder.decode(body)
    assert caught.value.field == field


@pytest.mark.parametrize("start", [b"", b'{"inputs": ', b'{"records": ', b'{"records": [{"note": '])
@pytest.mark.parametrize("bracket", [b"[", b"{", b'{"a":', b"[["])
def test_a_body_full_of_brackets_is_refused_within_a_fraction_of_a_second_of_work(start: bytes, bracket: bytes) -> None:
    body = start + bracket * (2**24 // len(bracket))
    started = time.process_time()
    with pytest.raises(Refusal):
        Decoder(OPEN).decode(body)
    assert time.process_time() - started < 0.25  # 0.02 on an idle machine
