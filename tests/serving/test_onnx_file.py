"""A model file that points at other files is refused before a runtime sees it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.app import create_app
from serving.bundle import Bundle
from serving.errors import BundleError
from serving.onnx_file import refuse_external_data
from tests.serving.conftest import TABLE, golden_of, linear_onnx, make_bundle, weights_of


def outside(location: str) -> onnx.TensorProto:
    """A tensor whose data lies in another file."""
    tensor = numpy_helper.from_array(weights_of(TABLE), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def as_initializer(tensor: onnx.TensorProto) -> bytes:
    model = onnx.load_from_string(linear_onnx(TABLE))
    model.graph.initializer[0].CopyFrom(tensor)
    payload: bytes = model.SerializeToString()
    return payload


def as_constant(tensor: onnx.TensorProto) -> bytes:
    model = onnx.load_from_string(linear_onnx(TABLE))
    del model.graph.initializer[:]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weights"], value=tensor))
    payload: bytes = model.SerializeToString()
    return payload


def in_a_branch(tensor: onnx.TensorProto) -> bytes:
    model = onnx.load_from_string(linear_onnx(TABLE))
    branch = helper.make_graph([helper.make_node("Identity", ["weights"], ["same"])], "branch", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["flag"], ["found"], then_branch=branch, else_branch=branch))
    payload: bytes = model.SerializeToString()
    return payload


@pytest.mark.parametrize("place", [as_initializer, as_constant, in_a_branch])
@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd"])
def test_a_tensor_in_another_file_is_found_wherever_it_stands(place: object, location: str) -> None:
    assert callable(place)
    with pytest.raises(BundleError, match=r"^model\.onnx: a tensor's data lies in another file"):
        refuse_external_data(place(outside(location)), "model.onnx")


def test_whole_models_pass() -> None:
    refuse_external_data(linear_onnx(TABLE), "model.onnx")
    tensor = numpy_helper.from_array(np.zeros((3, 2), dtype=np.float32), "weights")
    for place in (as_initializer, as_constant, in_a_branch):
        refuse_external_data(place(tensor), "model.onnx")


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_a_file_that_ends_too_early_is_none(cut: int) -> None:
    payload = linear_onnx(TABLE)
    with pytest.raises(BundleError, match=r"not an ONNX file"):
        refuse_external_data(payload[:-cut], "model.onnx")
    with pytest.raises(BundleError, match=r"not an ONNX file"):
        refuse_external_data(b"\xff" * cut, "model.onnx")


def test_a_bundle_that_points_elsewhere_is_whole_and_never_ready(tmp_path: Path) -> None:
    artifact = as_initializer(outside("/etc/hostname"))
    client = create_app(Bundle(make_bundle(tmp_path / "b", TABLE, artifact, golden=golden_of(TABLE)))).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["reason"].startswith("model.onnx: a tensor's data lies in another file")
