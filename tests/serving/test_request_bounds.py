"""Small requests that ask for much: rows, repeated keys, nesting, scans. Each is refused before it costs anything."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from serving.errors import InvalidInput, Refusal, TooLarge
from serving.facts import Limits
from serving.protocols import instances, mlflow_scoring, native, open_inference
from serving.protocols.json_places import path_to
from serving.schema import Feature
from tests.serving.asking import facts_of, request_of
from tests.serving.conftest import FEATURES, IMAGE, MESSY, TABLE
from tests.serving.test_arrays import npy

MB = 2**20
COUNT = 100_001  # rows, one more than a request may hold
ROW, CELLS = "[1, 2, 3]", '[1, true, "Bern", "2020-01-01", 2]'
RECORD = json.dumps(dict.fromkeys(FEATURES, 1))
HEAD = b'{"inputs": [{"name": "inputs", "shape": [%d, 3], "datatype": "UINT8", "parameters": {"binary_data_size": %d}}]}'
DIALECTS: dict[Any, Any] = {
    native.Codec: native.refuse,
    instances.Codec: instances.refuse,
    mlflow_scoring.Codec: mlflow_scoring.refuse,
    open_inference.Codec: open_inference.refuse,
}


def many(form: str, row: str, count: int = COUNT, close: str = "]}") -> bytes:
    return f'{{"{form}": [{", ".join([row] * count)}{close}'.encode()


def tensor(count: int) -> bytes:
    values = ", ".join(["1"] * (3 * count))
    return f'{{"inputs": [{{"name": "inputs", "shape": [{count}, 3], "datatype": "INT8", "data": [{values}]}}]}}'.encode()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Of work: what other processes do meanwhile does not count."""
    started = time.process_time()
    yield
    assert time.process_time() - started < seconds


@pytest.mark.parametrize(
    ("codec", "schema", "body", "headers"),
    [
        (native.Codec, TABLE, many("inputs", ROW), {}),
        (native.Codec, TABLE, many("records", RECORD), {}),
        (native.Codec, MESSY, many("inputs", CELLS), {}),
        (native.Codec, IMAGE, many("inputs", "[[1,2],[3,4]]"), {}),
        (native.Codec, TABLE, (",".join(FEATURES) + "\n" + "1,2,3\n" * COUNT).encode(), {"content-type": "text/csv"}),
        (native.Codec, TABLE, npy(np.zeros((COUNT, 3), np.uint8)), {"content-type": "application/x-npy"}),
        (mlflow_scoring.Codec, TABLE, many("inputs", ROW), {}),
        (mlflow_scoring.Codec, TABLE, many("dataframe_records", RECORD), {}),
        (mlflow_scoring.Codec, TABLE, many("dataframe_split", ROW).replace(b": [", b': {"data": [', 1) + b"}", {}),
        (mlflow_scoring.Codec, TABLE, json.dumps({"inputs": dict.fromkeys(FEATURES, [1] * COUNT)}).encode(), {}),
        (instances.Codec, TABLE, many("instances", ROW), {}),
        (instances.Codec, IMAGE, many("instances", "[[1,2],[3,4]]"), {}),
        (instances.Codec, MESSY, many("instances", CELLS), {}),
        (open_inference.Codec, TABLE, tensor(COUNT), {}),
        (
            open_inference.Codec,
            TABLE,
            (head := HEAD % (COUNT, 3 * COUNT)) + bytes(3 * COUNT),
            {"inference-header-content-length": str(len(head))},
        ),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else getattr(value, "__module__", None),
)
def test_more_rows_than_a_request_may_hold_are_413_in_every_form(
    codec: Any, schema: Any, body: bytes, headers: dict[str, str]
) -> None:
    request = request_of(body, headers.get("content-type"), **{k: v for k, v in headers.items() if k != "content-type"})
    with pytest.raises(TooLarge, match="100,000"):
        codec(facts_of(schema)).parse(request)


def test_as_many_rows_as_a_request_may_hold_are_taken() -> None:
    for codec, body in ((native.Codec, many("inputs", ROW, 5)), (instances.Codec, many("instances", ROW, 5))):
        assert len(codec(facts_of(TABLE, rows=5)).parse(request_of(body)).rows) == 5
        with pytest.raises(TooLarge):
            codec(facts_of(TABLE, rows=4)).parse(request_of(body))


def test_a_few_kb_that_inflate_to_millions_of_rows_are_refused_by_their_header() -> None:
    one = msgspec.structs.replace(TABLE, shape=(1,), features=(Feature("a", 0, 1),))
    body, codec = npy(np.zeros((4_000_000, 1), np.uint8)), native.Codec(facts_of(one))
    with within(0.05), pytest.raises(TooLarge, match="4,000,000 rows are more than the 100,000"):
        codec.parse(request_of(body, "application/x-npy"))


def test_rows_are_bounded_by_the_answers_that_they_get_and_one_row_is_always_taken() -> None:
    for outputs, most in ((2, 100_000), (1000, 2000), (3_000_000, 1)):
        classes = tuple(map(str, range(outputs)))
        assert Limits().most_rows(msgspec.structs.replace(TABLE, classes=classes)) == most
    assert Limits(values=9).most_rows(TABLE) == 3


KEYS = ", ".join(f'"k{index}": 0' for index in range(40_000)) + ', "z": 0, "z": 0'


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        (mlflow_scoring.Codec, f"{{{KEYS}}}"),
        (instances.Codec, f'{{"instances": [{{{KEYS}}}]}}'),
        (native.Codec, f'{{"records": [{{"age": 1, "note": {{{KEYS}}}, "body mass": 1, "größe.cm[1]": 1}}]}}'),
        (open_inference.Codec, f'{{"more": {{{KEYS}}}, "inputs": []}}'),
        (
            mlflow_scoring.Codec,
            json.dumps({"dataframe_split": {"data": [[1]], "columns": [*map(str, range(50_000)), "z", "z"]}}),
        ),
        (mlflow_scoring.Codec, json.dumps({"dataframe_split": {"data": [[1]], "columns": ["age"] * 50_000}})),
    ],
    ids=["mlflow", "v1", "unused", "v2", "columns", "the same column"],
)
def test_many_keys_of_which_one_is_there_twice_are_refused_in_time_that_grows_as_they_do(codec: Any, body: str) -> None:
    made = codec(facts_of(msgspec.structs.replace(TABLE, unused=("note",))))
    with within(1.0), pytest.raises(InvalidInput):
        made.parse(request_of(body.encode()))


def test_the_path_into_15_mb_is_found_in_a_fraction_of_a_second_of_work_and_is_short() -> None:
    body = b'{"a": ["' + b"x" * (15 * MB) + b'", ' + b'{"b": [[], ' * 500
    with within(2.0):  # 0.3 on an idle machine
        path = path_to(body, len(body))
    assert path is not None
    assert path.startswith("a[1].b[1].b[1]")
    assert len(path) <= 201


BROKEN = [
    b'{"\\ud800": %s}' % (b"[" * 40 + b"]" * 40),
    b'{"\\ud800": [NaN]}',
    b'{"a": 1e999, "\\ud800": 1}',
    b'{"a": 1e999, "\t": 1}',
    b'{"\\ud800": 1, "\\ud800": 1}',
    b'{"\xed\xa0\x80": %s}' % (b"[" * 40),
    b'{"\xff": %s}' % (b"[" * 40),
    b'{"\n": %s}' % (b"[" * 40),
    b'{"\\q": %s}' % (b"[" * 40),
    b'{"\\u00": %s}' % (b"[" * 40),
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body[:20].decode("latin-1"))
@pytest.mark.parametrize("codec", DIALECTS, ids=lambda codec: codec.__module__)
def test_keys_that_are_no_text_are_refused_and_the_refusal_can_be_sent(codec: Any, body: bytes) -> None:
    request = request_of(body)
    with pytest.raises(Refusal) as caught:
        codec(facts_of(TABLE)).parse(request)
    reply = DIALECTS[codec](caught.value, request)
    assert reply.status == 400
    assert json.loads(reply.body.decode())


def test_integers_of_64_bits_are_the_same_number_in_every_form() -> None:
    value = 2**59 + 2**35 + 1  # rounds to another float32 by way of float64
    rows = [[value, 0, 0]]
    expected = np.array(rows, dtype=np.float64).astype(np.float32)
    assert expected[0, 0] != np.float32(np.int64(value))
    parsed = {
        "json": native.Codec(facts_of(TABLE)).parse(request_of({"inputs": rows})),
        "npy": native.Codec(facts_of(TABLE)).parse(request_of(npy(np.array(rows)), "application/x-npy")),
        "v1": instances.Codec(facts_of(TABLE)).parse(request_of({"instances": rows})),
        "v2": open_inference.Codec(facts_of(TABLE)).parse(
            request_of({"inputs": [{"name": "inputs", "shape": [1, 3], "datatype": "INT64", "data": rows}]})
        ),
    }
    for form, work in parsed.items():
        np.testing.assert_array_equal(work.rows, expected, form)
