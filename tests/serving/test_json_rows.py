"""Rows of Slipway's own JSON: what is accepted, and where and why a body is refused."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.errors import BundleError, InvalidInput
from serving.protocols.json_rows import Decoder
from serving.schema import Feature, Schema
from tests.serving.conftest import FEATURES, IMAGE, REGRESSION, TABLE, Array

table, image, regression = Decoder(TABLE), Decoder(IMAGE), Decoder(REGRESSION)

TABLE_USAGE = 'send {"inputs": [row, …]} or {"records": [{"feature": value, …}, …]}'
IMAGE_USAGE = 'send {"inputs": [row, …]}'
TOO_LARGE = "the number does not fit into 32-bit floating point"
NO_FEATURE = "the model has no such feature; GET /info lists those that it has"


def records(*rows: tuple[Any, ...], **more: Any) -> bytes:
    """A body of records whose values stand in the schema's order; `more` goes into the last one."""
    named = [dict(zip(FEATURES, row, strict=False)) for row in rows]
    named[-1] |= more
    return json.dumps({"records": named}, ensure_ascii=False).encode()


def float_rows(*shape: int) -> st.SearchStrategy[Array]:
    shapes = st.integers(1, 6).map(lambda count: (count, *shape))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return arrays.arrays(np.float32, shapes, elements=finite)


@given(rows=float_rows(3))
def test_inputs_and_records_arrive_as_the_numbers_that_were_sent(rows: Array) -> None:
    for body in (json.dumps({"inputs": rows.tolist()}).encode(), records(*rows.tolist())):
        decoded = table.decode(body)
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(decoded, rows)


@given(rows=float_rows(2, 2))
def test_images_arrive_as_the_numbers_that_were_sent(rows: Array) -> None:
    np.testing.assert_array_equal(image.decode(json.dumps({"inputs": rows.tolist()}).encode()), rows)


def test_features_are_found_by_name_in_any_order_and_any_spelling_of_json() -> None:
    escaped = json.dumps({"records": [{FEATURES[2]: 3, FEATURES[0]: 1, FEATURES[1]: 2}]}).encode()  # ASCII: \u00f6
    assert b"\\u00f6" in escaped
    np.testing.assert_array_equal(table.decode(escaped), [[1, 2, 3]])


def test_integers_and_tiny_numbers_are_numbers() -> None:
    body = b' {"inputs": [[-1, 2e0, 1e-400]]}\n'
    np.testing.assert_array_equal(table.decode(body), [[-1, 2, 0]])


REFUSED_TABLES: list[tuple[bytes, str | None, str]] = [
    # wrong types
    (b'{"inputs": [[1, 2, "3"]]}', "inputs[0][2]", "expected a number, got a string"),
    (b'{"inputs": [[1, 2, 3], [1, true, 3]]}', "inputs[1][1]", "expected a number, got a boolean"),
    (b'{"inputs": [[null, 2, 3]]}', "inputs[0][0]", "expected a number, got null"),
    (b'{"inputs": [[1, 2, [3]]]}', "inputs[0][2]", "expected a number, got a list"),
    (b'{"inputs": [[1, 2, {}]]}', "inputs[0][2]", "expected a number, got an object"),
    (b'{"inputs": [1, 2, 3]}', "inputs[0]", "expected a list, got a number"),
    (b'{"inputs": "rows"}', "inputs", "expected a list, got a string"),
    (b'{"inputs": {"age": 1}}', "inputs", "expected a list, got an object"),
    (b'{"records": [[1, 2, 3]]}', "records[0]", "expected an object, got a list"),
    (b'{"records": {"age": 1}}', "records", "expected a list, got an object"),
    (records((1, 2, 3), (1, 2, "3")), "records[1].größe.cm[1]", "expected a number, got a string"),
    (records((1, None, 3)), "records[0].body mass", "expected a number, got null"),
    # numbers that are none, or too large
    (b'{"inputs": [[1, 2, 1e999]]}', "inputs[0][2]", TOO_LARGE),
    (b'{"inputs": [[1, 2, 1e39]]}', "inputs[0][2]", TOO_LARGE),
    (b'{"inputs": [[1, 2, 3], [-1e39, 2, 3]]}', "inputs[1][0]", TOO_LARGE),
    (b'{"inputs": [[' + b"9" * 60 + b", 2, 3]]}", "inputs[0][0]", TOO_LARGE),
    (b'{"inputs": [[' + b"9" * 5000 + b", 2, 3]]}", "inputs[0][0]", TOO_LARGE),
    (records((1, 2, 3), (1, 1e39, 3)), "records[1].body mass", TOO_LARGE),
    (b'{"inputs": [[1, 2, NaN]]}', "inputs[0][2]", "JSON has neither NaN nor Infinity; leave such rows out or fill"),
    (b'{"inputs": [[1, 2, 3], [1, -Infinity, 3]]}', "inputs[1][1]", "JSON has neither NaN nor Infinity; leave such rows out"),
    (
        records((1, 2, 3), (1, float("nan"), 3)),
        "records[1].body mass",
        "JSON has neither NaN nor Infinity; leave such rows out",
    ),
    (b"Infinity", None, "JSON has neither NaN nor Infinity (byte 0); leave such rows out"),
    # keys that are there twice
    (b'{"inputs": [[1, 2, 3]], "inputs": [[4, 5, 6]]}', "inputs", "the key is there twice; send it once"),
    (b'{"inputs": [[1, 2, 3]], "\\u0069nputs": [[4, 5, 6]]}', "inputs", "the key is there twice; send it once"),
    (records((1, 2, 3), (1, 2, 3))[:-3] + b', "age": 4}]}', "records[1].age", "the key is there twice; send it once"),
    # wrong lengths
    (b'{"inputs": [[1, 2, 3], [1, 2]]}', "inputs[1]", "expected 3 values, got 2"),
    (b'{"inputs": [[1, 2, 3, 4]]}', "inputs[0]", "expected 3 values, got 4"),
    (b'{"inputs": [[]]}', "inputs[0]", "expected 3 values, got 0"),
    (b'{"inputs": []}', "inputs", "must hold at least one row"),
    (b'{"records": []}', "records", "must hold at least one row"),
    # keys
    (b"{}", None, f"the body must hold exactly one of `inputs` and `records`: {TABLE_USAGE}"),
    (b'{"inputs": null}', "inputs", "expected a list, got null"),
    (records((1, 2, 3)).replace(b"{", b'{"inputs": null, ', 1), "inputs", "expected a list, got null"),
    (b'{"inputs": [[1, 2, 3]], "records": []}', None, "the body must hold exactly one of `inputs` and `records`"),
    (b'{"instances": [[1, 2, 3]]}', "instances", f"unknown key; {TABLE_USAGE}"),
    (b'{"inputs": [[1, 2, 3]], "a ` - at `$.b": 1}', "a ` - at `$.b", "unknown key"),
    (b'{"' + b"k" * 5000 + b'": 1}', "k" * 100 + "…", "unknown key"),
    (records((1, 2)), "records[0].größe.cm[1]", "required, but missing"),
    (b'{"records": [{}]}', "records[0].age", "required, but missing"),
    (records((1, 2, 3), (1, 2, 3), color=4), "records[1].color", NO_FEATURE),
    (records((1, 2, 3), Age=4), "records[0].Age", NO_FEATURE),
    (records((1, 2, 3), **{"": 4}), "records[0].", NO_FEATURE),
    # depth
    (b'{"inputs": ' + b"[" * 1000 + b"1" + b"]" * 1000 + b"}", "inputs[0][0]", "expected a number, got a list"),
    (b'{"inputs": ' + b"[" * 100_000, "inputs[0][0]", "expected a number, got a list"),
    (b'{"deep": ' + b'{"a":' * 100_000, "deep", "unknown key"),
    (b"[" * 100_000, None, f"the body must be an object, got a list; {TABLE_USAGE}"),
    # not an object, not JSON, not text
    (b"", None, f"the body is empty; {TABLE_USAGE}"),
    (b" \n", None, f"the body is empty; {TABLE_USAGE}"),
    (b"3", None, f"the body must be an object, got a number; {TABLE_USAGE}"),
    (b'"rows"', None, f"the body must be an object, got a string; {TABLE_USAGE}"),
    (b"null", None, f"the body must be an object, got null; {TABLE_USAGE}"),
    (b"age=1", None, f"the body is not JSON: invalid character (byte 0); {TABLE_USAGE}"),
    (b'{"inputs": [[1, 2, 3]', None, "the body is not JSON: input data was truncated"),
    (b'{"inputs": [[1, 2, 3],]}', "inputs[1]", "the body is not JSON: trailing comma in array (byte 22)"),
    (b'{"inputs": [[1, 2, 3]]} {}', None, "the body is not JSON: trailing characters (byte 25)"),
    (
        b'{"inputs": [["\\ud800 and more"]]}',
        "inputs[0][0]",
        "the text holds half of a surrogate pair, which is no character; send whole characters",
    ),
    (b'{"\\ud800": 1}', "\ud800", "the text holds half of a surrogate pair"),
    (b'{"\xff": 1}', None, "the body is not UTF-8 (byte 2); send JSON in UTF-8"),
    (b'\xff\xfe{\x00"\x00', None, "the body is not UTF-8 (byte 0); send JSON in UTF-8"),
    ('{"inputs": [[1, 2, 3]]}'.encode("utf-16-le"), None, "the body looks like UTF-16 or UTF-32; send JSON in UTF-8"),
    (b'\xef\xbb\xbf{"inputs": [[1, 2, 3]]}', None, "the body starts with a byte order mark; send UTF-8 without one"),
]

REFUSED_IMAGES: list[tuple[bytes, str | None, str]] = [
    (b'{"records": [{"0": 1}]}', "records", "this model takes images, and those only through `inputs`"),
    (b'{"instances": []}', "instances", f"unknown key; {IMAGE_USAGE}"),
    (b"{}", None, f"the body must hold `inputs`: {IMAGE_USAGE}"),
    (b"", None, f"the body is empty; {IMAGE_USAGE}"),
    (b'{"inputs": [[1, 2], [3, 4]]}', "inputs[0][0]", "expected a list, got a number"),
    (b'{"inputs": [[[1, 2], [3, 4]], [[1, 2]]]}', "inputs[1]", "expected 2 values, got 1"),
    (b'{"inputs": [[[1, 2], [3, 4]], [[1, 2], [3, 4, 5]]]}', "inputs[1][1]", "expected 2 values, got 3"),
    (b'{"inputs": [[[], []]]}', "inputs[0][0]", "expected 2 values, got 0"),
    (b'{"inputs": [[[1, 2], [3, "4"]]]}', "inputs[0][1][1]", "expected a number, got a string"),
    (b'{"inputs": [[[1, 2], [3, 1e39]]]}', "inputs[0][1][1]", TOO_LARGE),
]


def shown(refused: list[tuple[bytes, str | None, str]]) -> list[str]:
    return [repr(body[:40]) for body, _, _ in refused]


@pytest.mark.parametrize(("body", "field", "message"), REFUSED_TABLES, ids=shown(REFUSED_TABLES))
def test_a_wrong_table_is_refused_with_the_place_and_what_to_do(body: bytes, field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        table.decode(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("body", "field", "message"), REFUSED_IMAGES, ids=shown(REFUSED_IMAGES))
def test_a_wrong_image_is_refused_with_the_place_and_what_to_do(body: bytes, field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        image.decode(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from(["inputs", "records", *FEATURES, "rooms", "floor"]) | st.text(max_size=8)
trees = st.recursive(scalars, lambda leaf: st.lists(leaf, max_size=4) | st.dictionaries(keys, leaf, max_size=4), max_leaves=25)


@given(body=st.binary(max_size=300) | trees.map(lambda tree: json.dumps(tree).encode()))
@example(body=b'{"\xff": 1}')
@example(body=b'{"inputs": [[1, 2, 3]]}')
def test_any_bytes_are_rows_or_refused_as_invalid_input(body: bytes) -> None:
    for decoder, schema in ((table, TABLE), (image, IMAGE), (regression, REGRESSION)):
        try:
            rows = decoder.decode(body)
        except InvalidInput:
            continue
        assert rows.shape == (len(rows), *schema.shape)
        assert np.isfinite(rows).all()


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6) | st.none() | st.just("1")
almost_rows = st.lists(st.lists(numbers, min_size=2, max_size=4), max_size=4)
almost_records = st.lists(st.dictionaries(st.sampled_from([*FEATURES, "other"]), numbers, max_size=4), max_size=3)


@given(inputs=almost_rows | st.none(), named=almost_records | st.none())
def test_a_body_that_is_almost_right_is_rows_or_refused_as_invalid_input(inputs: Any, named: Any) -> None:
    try:
        rows = table.decode(json.dumps({"inputs": inputs, "records": named}).encode())
    except InvalidInput:
        return
    sent = inputs if named is None else [[record[feature] for feature in FEATURES] for record in named]
    np.testing.assert_array_equal(rows, np.asarray(sent, dtype=np.float32))


@pytest.mark.parametrize("names", [('height "', "b"), ("a\\b", "b"), ("a\nb", "b"), ("twice", "twice")])
def test_a_schema_whose_feature_names_cannot_be_keys_is_refused(names: tuple[str, ...]) -> None:
    features = tuple(Feature(name, 0.0, 1.0) for name in names)
    schema = Schema(task="regression", kind="table", shape=(2,), target="y", minimum=0, maximum=1, features=features)
    with pytest.raises(BundleError, match="^the schema's feature names cannot be served: "):
        Decoder(schema)


def test_columns_of_the_data_that_the_model_does_not_take_may_stand_in_a_record_and_change_nothing() -> None:
    schema = msgspec.structs.replace(TABLE, unused=("customer id", "churned", 'odd"name'))
    decoder = Decoder(schema)
    plain = {feature.name: float(index) for index, feature in enumerate(TABLE.features)}
    body = msgspec.json.encode({"records": [{**plain, "churned": None, "customer id": [1, {"a": 2}]}, plain]})
    np.testing.assert_array_equal(decoder.decode(body)[0], decoder.decode(body)[1])
    with pytest.raises(InvalidInput) as caught:
        decoder.decode(msgspec.json.encode({"records": [{**plain, "churnd": 1}]}))
    assert caught.value.field == "records[0].churnd"
