"""Slipway's own JSON for tables of more than numbers: cells as people write them, and where and why one is refused."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.columns import TOO_LARGE, Encoder
from serving.errors import InvalidInput
from serving.protocols.json_rows import Decoder
from tests.serving.conftest import MESSY, Array

decoder = Decoder(MESSY)
NAMES = [feature.name for feature in MESSY.features]
WHOLE = [30.5, True, "Bern", "2024-02-29", 7]
NULL = "is null, and no row that the model learned from lacked it; send a value"
DATE = 'expected a date in ISO 8601, such as "2024-10-04", got '


def body(*rows: list[Any]) -> bytes:
    return json.dumps({"inputs": rows}).encode()


def named(*rows: list[Any]) -> bytes:
    return json.dumps({"records": [dict(zip(NAMES, row, strict=True)) for row in rows]}).encode()


def assert_rows(found: Array, expected: list[list[float]]) -> None:
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


def test_cells_arrive_as_the_numbers_that_the_model_learned_from() -> None:
    expected = [[30.5, 1, 1, 19_782, 0, 7]]
    assert_rows(decoder.decode(body(WHOLE)), expected)
    assert_rows(decoder.decode(named(WHOLE)), expected)


def test_null_an_empty_text_and_an_absent_key_are_missing_and_an_unseen_category_is_in_order() -> None:
    nan = float("nan")
    for cell in (None, "", " "):
        assert_rows(decoder.decode(body([cell, False, cell, cell, 0])), [[nan, 0, nan, nan, nan, 0]])
    assert_rows(decoder.decode(b'{"records": [{"mass": 0, "member": "no"}]}'), [[nan, 0, nan, nan, nan, 0]])
    assert_rows(decoder.decode(body([1, "yes", "Atlantis", "2024-02-29T00:01", 0])), [[1, 1, 0, 19_782, 60, 0]])
    assert_rows(decoder.decode(body([1, "yes", 3, "2024-02-29", 0])), [[1, 1, 3, 19_782, 0, 0]])


REFUSED: list[tuple[bytes, str | None, str]] = [
    # by its kind
    (body(WHOLE, ["old", *WHOLE[1:]]), "inputs[1][0]", 'expected a number, got "old"'),
    (body([True, *WHOLE[1:]]), "inputs[0][0]", "expected a number, got true"),
    (body([30, "maybe", *WHOLE[2:]]), "inputs[0][1]", 'expected true or false, "no" or "yes", got "maybe"'),
    (body([30, 2, *WHOLE[2:]]), "inputs[0][1]", 'expected true or false, "no" or "yes", got 2'),
    (named(WHOLE, WHOLE, [*WHOLE[:3], "tomorrow", 7]), "records[2].joined", DATE + '"tomorrow"'),
    (body([*WHOLE[:3], 20_000, 7]), "inputs[0][3]", DATE + "20000"),
    (body([*WHOLE[:3], "2023-02-29", 7]), "inputs[0][3]", DATE + '"2023-02-29"'),
    # missing where it must not be
    (body([*WHOLE[:4], None]), "inputs[0][4]", NULL),
    (named([30, None, *WHOLE[2:]]), "records[0].member", NULL),
    (named([30, "", *WHOLE[2:]]), "records[0].member", NULL.replace("null", "empty")),
    (b'{"records": [{"age": 1, "member": true}]}', "records[0].mass", "required, but missing"),
    # lists and objects
    (body([[30], *WHOLE[1:]]), "inputs[0][0]", "expected a number, got a list"),
    (body([*WHOLE[:3], {"y": 2024}, 7]), "inputs[0][3]", "expected a date as a text, got an object"),
    (named([30, [], *WHOLE[2:]]), "records[0].member", "expected true or false, got a list"),
    (named([30, True, {}, *WHOLE[3:]]), "records[0].city", "expected a text, a number or a boolean, got an object"),
    (body([*WHOLE, []]), "inputs[0][5]", "expected a value, got a list"),
    (b'{"inputs": ' + b"[" * 100_000, "inputs[0][0]", "expected a number, got a list"),
    (
        b'{"records": [{"city": ' + b'{"a":' * 100_000,
        "records[0].city",
        "expected a text, a number or a boolean, got an object",
    ),
    (body("Bern"), "inputs[0]", "expected a list, got a string"),  # type: ignore[arg-type]
    # numbers that are none, or too large
    (body(WHOLE, [1e39, *WHOLE[1:]]), "inputs[1][0]", TOO_LARGE),
    (b'{"inputs": [[1e999, true, "Bern", null, 7]]}', "inputs[0][0]", TOO_LARGE),
    (b'{"inputs": [[' + b"9" * 300 + b', true, "Bern", null, 7]]}', "inputs[0][0]", TOO_LARGE),
    (b'{"inputs": [[1, true, ' + b"9" * 5000 + b", null, 7]]}", "inputs[0][2]", TOO_LARGE),
    (
        b'{"inputs": [[NaN, true, "Bern", null, 7]]}',
        "inputs[0][0]",
        "JSON has neither NaN nor Infinity; a missing value is null",
    ),
    # lengths and keys
    (b'{"records": [{"mass": 7, "member": true, "mass": 8}]}', "records[0].mass", "the key is there twice; send it once"),
    (b'{"records": [{"mass": 7, "member": true, "city": "\\"", "city": "b"}]}', "records[0].city", "the key is there twice"),
    (body(WHOLE, WHOLE[:4]), "inputs[1]", "expected 5 values, got 4"),
    (body([*WHOLE, 1]), "inputs[0]", "expected 5 values, got 6"),
    (body(), "inputs", "must hold at least one row"),
    (b'{"records": [{"City": "Bern"}]}', "records[0].City", "the model has no such feature; GET /info lists those"),
    (b'{"rows": []}', "rows", "unknown key; "),
]


@pytest.mark.parametrize(("sent", "field", "message"), REFUSED, ids=[repr(sent[:60]) for sent, _, _ in REFUSED])
def test_a_wrong_cell_is_refused_with_its_place_what_was_seen_and_what_is_right(
    sent: bytes, field: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        decoder.decode(sent)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
anything = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
fitting = st.tuples(
    st.none() | st.floats(-1e30, 1e30) | st.integers(-(2**60), 2**60),
    st.sampled_from([True, False, "yes", "no", "YES"]),
    anything.filter(lambda cell: not isinstance(cell, int) or abs(cell) < 10**300),
    st.none() | st.datetimes().map(lambda moment: moment.isoformat()),
    st.floats(-1e30, 1e30),
)


@given(rows=st.lists(fitting.map(list), min_size=1, max_size=5))
def test_rows_sent_either_way_are_what_the_encoder_of_training_says(rows: list[list[Any]]) -> None:
    expected = Encoder(MESSY).encode(rows)
    np.testing.assert_array_equal(decoder.decode(body(*rows)), expected)
    np.testing.assert_array_equal(decoder.decode(named(*rows)), expected)


@given(rows=st.lists(st.lists(anything | st.lists(anything, max_size=2), min_size=4, max_size=6), max_size=3))
def test_any_cells_are_rows_or_refused_as_invalid_input(rows: list[list[Any]]) -> None:
    for sent in (body(*rows), json.dumps({"records": [dict(zip(NAMES, row, strict=False)) for row in rows]}).encode()):
        try:
            found = decoder.decode(sent)
        except InvalidInput:
            continue
        assert found.shape == (len(rows), *MESSY.shape)
        assert not np.isinf(found).any()
