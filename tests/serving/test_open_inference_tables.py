"""Open Inference Protocol v2 for tables of more than numbers, strict mode, and what metadata says of a model."""

import json
from typing import Any

import numpy as np
import pytest

from serving.columns import Encoder
from serving.errors import InvalidInput, Refusal
from serving.protocols.open_inference import Codec, metadata
from serving.protocols.ranges import columns_of, refuse_outside
from tests.serving.asking import facts_of
from tests.serving.conftest import IMAGE, MESSY, REGRESSION, TABLE, Array
from tests.serving.test_open_inference import LENGTH, ask, elements, float32, refused, request_of, tensor

CELLS = [[30, True, "Bern", "2001-02-03", 2.5], [41, False, "Rome", "2010-11-12T10:00:00", 7]]


def columns(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """A tensor for each column of CELLS."""
    kinds = ("FP64", "BOOL", "BYTES", "BYTES", "FP32")
    made = {
        feature.name: tensor(feature.name, kind, list(cells))
        for feature, kind, cells in zip(MESSY.features, kinds, zip(*CELLS, strict=True), strict=True)
    }
    return list((made | changes).values())


def test_each_column_is_an_input_and_encoded_as_everywhere_else() -> None:
    np.testing.assert_array_equal(ask(MESSY, *columns()).rows, Encoder(MESSY).encode(CELLS))
    words = columns(member=tensor("member", "BYTES", [["yes"], ["no"]]))
    np.testing.assert_array_equal(ask(MESSY, *words).rows, Encoder(MESSY).encode(CELLS))


def test_columns_arrive_in_binary_and_nan_is_missing() -> None:
    shares = [
        ("age", "FP64", np.array([30, np.nan]).tobytes()),
        ("member", "BOOL", b"\x01\x00"),
        ("city", "BYTES", elements("Zürich".encode(), b"")),
        ("joined", "BYTES", elements(b"2001-02-03", b"")),
        ("mass", "FP16", np.array([2.5, 7], dtype=np.float16).tobytes()),
    ]
    tensors = [tensor(name, kind, None, [2], binary_data_size=len(raw)) for name, kind, raw in shares]
    found = ask(MESSY, *tensors, raw=b"".join(raw for *_, raw in shares)).rows
    expected = Encoder(MESSY).encode([[30, True, "Zürich", "2001-02-03", 2.5], [None, False, None, None, 7]])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changed", "field", "message"),
    [
        (tensor("joined", "BYTES", ["2001-02-03", "soon"]), "inputs[3].data[1]", "expected a date in ISO 8601"),
        (tensor("member", "BYTES", ["yes", "maybe"]), "inputs[1].data[1]", "expected true or false"),
        (tensor("member", "INT8", [0, 1]), "inputs[1].datatype", '"INT8" where BOOL, BYTES'),
        (tensor("mass", "FP64", [1.0, 1e39]), "inputs[4].data[1]", "32-bit floating point"),
        (tensor("age", "BYTES", ["30", "31"]), "inputs[0].datatype", '"BYTES" where UINT8'),
        (tensor("city", "BYTES", ["a,b", "c", "d"], [2]), "inputs[2].data", "takes 2 values, got 3"),
        (tensor("city", "BYTES", ["Bern", 3]), "inputs[2].data", "takes 2 values, got 1"),
        (tensor("age", "FP64", [1.0, 2.0, 3.0]), "inputs[1].shape", "2 rows, where another input has 3"),
        (tensor("city", "BYTES", ["a", "b"], [1, 2]), "inputs[2].shape", "is not the shape"),
    ],
)
def test_a_cell_that_does_not_fit_is_refused_with_its_place(changed: dict[str, Any], field: str, message: str) -> None:
    refusal = refused(MESSY, *columns(**{changed["name"]: changed}))
    assert refusal.field == field
    assert message in str(refusal)


def test_texts_with_commas_quotes_and_backslashes_are_counted_as_texts() -> None:
    odd = columns(city=tensor("city", "BYTES", ['a,"b\\', '\\\\",[']))
    assert ask(MESSY, *odd).rows.shape == (2, 6)


@pytest.mark.parametrize(
    ("raw", "place", "message"),
    [
        (elements(b"Bern"), "[1]", "does not end within"),
        (elements(b"Bern", b"Rome", b"Oslo"), "", "2 elements end after 16 of the tensor's 24 bytes"),
        (b"\xff\xff\xff\xff" + b"Bern", "[0]", "does not end within"),
        (elements(b"Bern", b"\xff"), "[1]", "not UTF-8"),
        (b"", "[0]", "does not end within"),
    ],
)
def test_elements_whose_lengths_do_not_add_up_are_refused(raw: bytes, place: str, message: str) -> None:
    city = tensor("city", "BYTES", None, [2], binary_data_size=len(raw))
    text = json.dumps({"inputs": columns(city=city)}).encode()
    with pytest.raises(InvalidInput, match=message) as found:
        Codec(facts_of(MESSY)).parse(request_of(text + raw, **{LENGTH: str(len(text))}))
    assert found.value.field == f"inputs[2].data{place}"


def test_a_boolean_byte_is_nothing_but_0_or_1() -> None:
    member = tensor("member", "BOOL", None, [2], binary_data_size=2)
    assert refused(MESSY, *columns(member=member), raw=b"\x01\x02").field == "inputs[1].data[1]"


def outside(rows: Array, schema: Any) -> Refusal:
    with pytest.raises(InvalidInput) as found:
        refuse_outside(rows, schema, lambda row, position: f"{row}:{position}")
    return found.value


def test_the_range_of_training_is_inside_and_what_is_beyond_has_its_place() -> None:
    edges = float32([[1, 0], [9, 9]])
    refuse_outside(edges, REGRESSION, lambda row, position: "")
    found = outside(float32([[1, 0], [2, 9.5]]), REGRESSION)
    assert found.field == "1:1"
    assert "9.5 is outside 0 to 9" in str(found)
    assert outside(np.full((1, 2, 2), 1.5, dtype=np.float32), IMAGE).field == "0:0"


def test_strict_tables_refuse_unseen_categories_and_dates_but_not_what_is_missing() -> None:
    rows = Encoder(MESSY).encode([[None, True, None, None, 2], [30, True, "Rome", None, 2], [30, True, None, "2200-01-01", 2]])
    refuse_outside(rows[:1], MESSY, lambda row, position: "")
    assert "category that no train row had" in str(outside(rows[:2], MESSY))
    assert "2200-01-01 is outside 1970-01-01 to 2024-10-04" in str(outside(rows[2:], MESSY))
    assert columns_of(MESSY) == (0, 1, 2, 3, 3, 4)


def test_strict_is_off_unless_asked_for_and_names_the_tensor() -> None:
    sent = tensor("inputs", "FP32", [[0, 0, 0], [0, 5, 0]])
    ask(TABLE, sent)
    assert refused(TABLE, sent, limits={"strict": True}).field == "inputs[0].data[1][1]"
    assert refused(MESSY, *columns(), limits={"strict": True}).field == "inputs[2].data[1]"


def body_of(reply: Any) -> Any:
    return json.loads(reply.body)


def test_metadata_describes_plain_models_and_tables_with_everything() -> None:
    plain = body_of(metadata.model_metadata(facts_of(IMAGE)))
    assert plain == {
        "name": "tiny",
        "versions": ["7"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "inputs", "datatype": "FP32", "shape": [-1, 2, 2]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    }
    messy = body_of(metadata.model_metadata(facts_of(MESSY)))
    assert [(port["datatype"], port["shape"]) for port in messy["inputs"]] == [
        (kind, [-1, 1]) for kind in ("FP64", "BOOL", "BYTES", "BYTES", "FP64")
    ]
    assert messy["outputs"] == [{"name": "values", "datatype": "FP32", "shape": [-1, 1]}]


def test_the_configuration_leaves_the_batch_out() -> None:
    config = body_of(metadata.model_config(facts_of(IMAGE), max_batch=64, dynamic_batching=True))
    assert (config["max_batch_size"], config["dynamic_batching"]) == (64, {})
    assert config["input"] == [{"name": "inputs", "data_type": "TYPE_FP32", "dims": [2, 2]}]
    assert config["output"][1] == {"name": "label", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}}
    assert "dynamic_batching" not in body_of(metadata.model_config(facts_of(IMAGE), max_batch=1, dynamic_batching=False))


def test_health_says_ready_with_its_status_and_live_always() -> None:
    assert [metadata.health_live(ready=ready).status for ready in (True, False)] == [200, 200]
    assert [metadata.health_ready(ready=ready).status for ready in (True, False)] == [200, 503]
    assert [metadata.model_ready(facts_of(IMAGE), ready=ready).status for ready in (True, False)] == [200, 503]
    assert body_of(metadata.health_ready(ready=True)) == {"live": True, "ready": True}
    assert body_of(metadata.models(["tiny"])) == {"models": ["tiny"]}
