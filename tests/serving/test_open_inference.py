"""Open Inference Protocol v2: what a tensor of a request may be, and where and why it is refused."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.errors import InvalidInput, Refusal, TooLarge
from serving.exchange import Reply, Request, Work
from serving.protocols.open_inference import Codec
from serving.schema import Schema
from tests.serving.asking import facts_of
from tests.serving.conftest import FEATURES, IMAGE, TABLE, Array, rows_of

LENGTH = "Inference-Header-Content-Length"


def float32(values: Any) -> Array:
    return np.array(values, dtype=np.float32)


def request_of(body: bytes, **headers: str) -> Request:
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Request("POST", "/v2/models/tiny/infer", "", named.get, body)


def tensor(name: str, datatype: str, values: Any, shape: list[int] | None = None, **parameters: Any) -> dict[str, Any]:
    made = {"name": name, "datatype": datatype, "shape": list(np.shape(values)) if shape is None else shape}
    return made | ({"data": values} if values is not None else {}) | ({"parameters": parameters} if parameters else {})


def whole(**changes: Any) -> dict[str, Any]:
    return tensor("inputs", "FP32", [[[1, 2], [3, 4]]]) | changes


def ask(schema: Schema, *tensors: dict[str, Any], raw: bytes = b"", limits: dict[str, Any] | None = None, **more: Any) -> Work:
    text = json.dumps({"inputs": tensors, **more}).encode()
    headers = {LENGTH: str(len(text))} if raw else {}
    return Codec(facts_of(schema, **(limits or {}))).parse(request_of(text + raw, **headers))


def refused(*arguments: Any, **keywords: Any) -> Refusal:
    with pytest.raises(Refusal) as found:
        ask(*arguments, **keywords)
    return found.value


def binary(name: str, datatype: str, array: NDArray[Any]) -> tuple[dict[str, Any], bytes]:
    return tensor(name, datatype, None, list(array.shape), binary_data_size=array.nbytes), array.tobytes()


def elements(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def parts_of(reply: Reply) -> tuple[dict[str, Any], bytes]:
    """The JSON of a reply, and what follows it."""
    size = int(dict(reply.headers).get(LENGTH, len(reply.body)))
    return json.loads(reply.body[:size]), reply.body[size:]


@given(data=st.data())
def test_rows_arrive_as_sent_flat_nested_and_in_binary(data: st.DataObject) -> None:
    rows = rows_of(IMAGE, data.draw(st.integers(1, 5)), seed=data.draw(st.integers(0, 99)))
    described, raw = binary("inputs", "FP32", rows)
    shape = list(rows.shape)
    for work in (
        ask(IMAGE, tensor("inputs", "FP32", rows.tolist())),
        ask(IMAGE, tensor("inputs", "FP32", rows.ravel().tolist(), shape)),
        ask(IMAGE, described, raw=raw),
    ):
        np.testing.assert_array_equal(work.rows, rows)
        assert work.rows.dtype == np.float32
        assert work.rows.flags.aligned
        assert work.rows.flags.writeable  # torch warns about others


@pytest.mark.parametrize(
    "name", ["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
)
def test_any_number_is_taken_and_cast(name: str) -> None:
    dtype = name.lower().replace("fp", "float")
    array = np.array([[[1, 2], [3, 120]]], dtype=dtype)
    described, raw = binary("inputs", name, array)
    np.testing.assert_array_equal(ask(IMAGE, described, raw=raw).rows, array.astype(np.float32))
    if name != "FP16":
        np.testing.assert_array_equal(ask(IMAGE, tensor("inputs", name, array.tolist())).rows, array.astype(np.float32))


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (whole(name="image"), "inputs[0].name", 'no input is called "image"; this model takes `inputs`'),
    (whole(shape=[2, 2, 2]), "inputs[0].data", "shape [2, 2, 2] takes 8 values, got 4"),
    (whole(shape=[1, 4]), "inputs[0].shape", "[1, 4] is not the shape that the model takes, [-1, 2, 2]"),
    (whole(shape=[]), "inputs[0].shape", "is not the shape"),
    (whole(shape=[-1, 2, 2]), "inputs[0].shape", "has a negative length"),
    (whole(shape=[0, 2, 2], data=[]), "inputs[0].shape", "has no row"),
    (whole(shape=[2**62, 2, 2]), "inputs[0].shape[0]", "expected an integer <= 9007199254740992"),
    (whole(shape=[1.5, 2, 2]), "inputs[0].shape[0]", "expected an integer, got a number"),
    (whole(datatype="BYTES"), "inputs[0].datatype", '"BYTES" where UINT8'),
    (whole(datatype="BF16"), "inputs[0].datatype", "send FP32"),
    (whole(datatype="BOOL"), "inputs[0].datatype", '"BOOL" where UINT8'),
    (whole(datatype="FP16"), "inputs[0].datatype", "FP16 travels in binary only"),
    (whole(datatype="UINT8", data=[1, 2, 3, 256]), "inputs[0].data[3]", "expected an integer <= 255"),
    (whole(datatype="UINT8", data=[1, 2, 3, -1]), "inputs[0].data[3]", "expected an integer >= 0"),
    (whole(datatype="UINT64", data=[1, 2, 3, 2**64]), "inputs[0].data", "does not fit into UINT64"),
    (whole(datatype="INT64", data=[1, 2, 3, 0.5]), "inputs[0].data[3]", "expected an integer, got a number"),
    (whole(data=[1, 2, 3, 1e39]), "inputs[0].data[3]", "does not fit into 32-bit floating point"),
    (whole(data=[[[1, 2], [1e39, 4]]]), "inputs[0].data[0][1][0]", "does not fit into 32-bit floating point"),
    (whole(data=[1, 2, None, 4]), "inputs[0].data[2]", "expected a number, got null"),
    (whole(data=[1, 2, "3", 4]), "inputs[0].data[2]", "expected a number, got a string"),
    (whole(data=[[1, 2], [3, 4]]), "inputs[0].data[0][0]", "expected a list, got an integer"),
    (whole(data=[[[1, 2, 3], [4]]]), "inputs[0].data", "its nesting does not fit shape [1, 2, 2]"),
    (whole(data=[1, 2, 3]), "inputs[0].data", "takes 4 values, got 3"),
    (whole(data=[]), "inputs[0].data", "takes 4 values, got 0"),
    (whole(data=7), "inputs[0].data", "expected a list, got an integer"),
    (tensor("inputs", "FP32", None, [1, 2, 2]), "inputs[0]", "has neither data nor parameters.binary_data_size"),
    (whole(parameters={"binary_data_size": 16}), "inputs[0].parameters.binary_data_size", "has data, too"),
    (tensor("inputs", "FP32", None, [1, 2, 2], binary_data_size=16), "inputs[0].parameters.binary_data_size", "0 to 0"),
    (whole(parameters={"shared_memory_region": "x"}), "inputs[0].parameters", "shared memory is not offered"),
    (whole(parameters={"a": [1]}), "inputs[0].parameters[...]", "got a list"),
    ({"shape": [1], "datatype": "FP32"}, "inputs[0].name", "required, but missing"),
]


@pytest.mark.parametrize(("sent", "field", "message"), REFUSED)
def test_a_tensor_that_does_not_fit_is_refused_with_its_place(sent: dict[str, Any], field: str, message: str) -> None:
    refusal = refused(IMAGE, sent)
    assert isinstance(refusal, InvalidInput)
    assert refusal.field == field
    assert message in str(refusal)


@pytest.mark.parametrize("size", ["true", "-1", "15", "17", '"16"', "16.0", "1e999", "9" * 40, "9" * 5000])
def test_the_bytes_of_a_tensor_are_counted_exactly(size: str) -> None:
    text = b'{"inputs": [{"name": "inputs", "datatype": "FP32", "shape": [1, 2, 2], "parameters": {"binary_data_size": %s}}]}'
    text %= size.encode()
    with pytest.raises(InvalidInput):
        Codec(facts_of(IMAGE)).parse(request_of(text + bytes(16), **{LENGTH: str(len(text))}))


def test_bytes_that_no_tensor_accounts_for_are_refused() -> None:
    described, raw = binary("inputs", "FP32", rows_of(IMAGE, 1))
    assert "20 bytes follow the JSON" in str(refused(IMAGE, described, raw=raw + b"rest"))
    assert "takes 32 bytes, got 16" in str(refused(IMAGE, described | {"shape": [2, 2, 2]}, raw=raw))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_number_that_is_not_finite_as_float32_is_refused_with_its_place(value: float) -> None:
    described, raw = binary("inputs", "FP64", np.array([[[1, 2], [value, 4]]]))
    assert refused(IMAGE, described, raw=raw).field == "inputs[0].data[2]"


def test_a_table_of_numbers_takes_an_input_for_each_feature_in_any_order() -> None:
    rows = rows_of(TABLE, 4)
    tensors = [tensor(name, "FP64", column.tolist()) for name, column in zip(FEATURES, rows.T, strict=True)]
    tensors[1] = tensor(FEATURES[1], "FP32", rows[:, 1:2].tolist())
    np.testing.assert_array_equal(ask(TABLE, *reversed(tensors)).rows, rows)
    np.testing.assert_array_equal(ask(TABLE, tensor("inputs", "FP32", rows.tolist())).rows, rows)
    assert refused(TABLE, *tensors[:2]).field == "inputs"
    assert refused(TABLE, *tensors, tensors[0]).field == "inputs[3].name"
    assert refused(TABLE, tensors[0], tensors[1], tensor(FEATURES[2], "FP64", [1])).field == "inputs[2].shape"
    assert isinstance(refused(TABLE, *tensors, limits={"values": 11}), TooLarge)
