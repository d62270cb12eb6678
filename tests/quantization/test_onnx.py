"""Int8 ONNX files: a row's answer is its own, the rest of the graph stays float, one file, the same bytes each time."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.exporting.formats import export
from pipeline.models.cnn import Cnn
from pipeline.models.deployable import Deployable
from pipeline.models.mlp import Mlp
from pipeline.models.resnet import Resnet
from pipeline.quantization.arithmetic import Arithmetic, of_this_machine
from pipeline.quantization.bounded import Subject
from pipeline.quantization.onnx_dynamic import OnnxDynamic
from pipeline.quantization.onnx_static import OnnxStatic
from serving.files import sha256_of
from serving.runtimes import Run, load
from serving.schema import Array
from tests.conftest import ROOT

STATISTICS = {"inputs": {"shift": 0.5, "scale": 2.0}, "target": {"shift": 0.0, "scale": 1.0}}


def deployable(net: nn.Module) -> Deployable:
    return Deployable(net, task="classification", statistics=STATISTICS).eval()


def rows_of(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32)


def run_of(payload: bytes) -> Run:
    return load(payload, "onnxruntime")


def alone_as_in_a_batch(run: Run, rows: Array) -> float:
    alone = np.concatenate([run(rows[index : index + 1]) for index in range(len(rows))])
    return float(np.abs(alone - run(rows)).max())


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "mlp": (lambda: Mlp((6,), 3, hidden=[16, 16]), (6,), ["net.layers.1", "net.layers.4", "net.layers.7"]),
    "cnn": (
        lambda: Cnn((6, 6), 3, channels=[8], hidden=16),
        (6, 6),
        ["net.features.0.0", "net.features.1.0", "net.head.1", "net.head.4"],
    ),
    "resnet": (
        lambda: Resnet((2, 6, 6), 3, channels=[8], blocks=1),
        (2, 6, 6),
        ["net.features.0.0", "net.features.1.body.0.0", "net.features.1.body.1", "net.head.3"],
    ),
}


@cache
def made(name: str) -> tuple[bytes, Array]:
    """Return the exported file of a network, with rows for it; exporting takes longer than all else here."""
    torch.manual_seed(0)
    build, shape, _ = NETS[name]
    rows = rows_of(*shape)
    return export(deployable(build()), torch.from_numpy(rows[:2]), "onnx"), rows


@pytest.mark.parametrize("name", list(NETS))
def test_static_files_keep_answers_names_and_rows_apart(name: str) -> None:
    payload, rows = made(name)
    layers, calibrations = NETS[name][2], ("minmax", "entropy", "percentile")
    expected = run_of(payload)(rows)
    with OnnxStatic.opened(payload, rows, of_this_machine(), calibrations) as subject:
        assert list(subject.layers) == layers, "layers have the names that their weights have in the checkpoint"
        for calibration in calibrations:
            found = run_of(subject.quantized(calibration, floats=[]))
            assert 0 < np.abs(found(rows) - expected).mean() < 0.05
            assert alone_as_in_a_batch(found, rows) < 1e-6
        none = run_of(subject.quantized("minmax", floats=layers))
    np.testing.assert_allclose(none(rows), expected, atol=1e-6, err_msg="with all layers in float nothing is rounded")


def kinds(payload: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(payload).graph.node]


def test_a_static_file_stands_alone_and_rounds_nothing_but_layers() -> None:
    payload, rows = made("cnn")
    with OnnxStatic.opened(payload, rows, of_this_machine(), ("minmax",)) as subject:
        written = subject.quantized("minmax", floats=[])
    model = onnx.load_from_string(written)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert not model.metadata_props
    order = [kind for kind in kinds(written) if kind not in {"QuantizeLinear", "DequantizeLinear"}]
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    (sub,) = [node for node in model.graph.node if node.op_type == "Sub"]
    assert sub.input[0] not in producers
    assert order[:2] == ["Sub", "Div"], "raw values reach the normalization as floats"
    assert order[-1] == "Softmax"
    assert "Relu" not in order, "a range from 0 up has the ReLU in it"
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith("weight_quantized")]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.INT8}
    scales = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer if tensor.name.endswith("weight_scale")}
    assert scales["net.features.0.0.weight_scale"] == [8], "a scale for each output channel"


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_weights_keep_to_7_bits_where_the_processor_needs_it(method: str) -> None:
    (payload, rows), narrow = made("mlp"), Arithmetic("uint8", "int8", True, [], "")

    def largest(subject: Subject) -> int:
        model = onnx.load_from_string(subject.quantized(subject.calibrations[0], floats=[]))
        values = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
        return max(int(np.abs(value).max()) for value in values)

    if method == "dynamic":
        assert largest(OnnxDynamic(payload, reduce_range=True)) == 63
        assert largest(OnnxDynamic(payload, reduce_range=False)) == 127
    else:
        with OnnxStatic.opened(payload, rows, narrow, ("minmax",)) as subject:
            assert 60 < largest(subject) <= 64


@pytest.fixture(scope="module")
def dynamic() -> tuple[Run, Run, Array]:
    payload, rows = made("mlp")
    return run_of(OnnxDynamic(payload, reduce_range=False).quantized(None, floats=[])), run_of(payload), rows


@settings(deadline=None, max_examples=30)
@given(factor=st.floats(1e-3, 1e3), beside=st.integers(1, 40))
def test_rows_beside_it_never_change_what_a_row_is_answered_by_a_dynamic_file(
    dynamic: tuple[Run, Run, Array], factor: float, beside: int
) -> None:
    run, _, rows = dynamic
    others = (rows[1 : 1 + beside] * factor).astype(np.float32)
    np.testing.assert_allclose(run(np.concatenate([rows[:1], others]))[:1], run(rows[:1]), atol=1e-6)


def test_a_dynamic_file_answers_nearly_like_the_float_one_also_rows_of_zeros(dynamic: tuple[Run, Run, Array]) -> None:
    run, whole, rows = dynamic
    middle = np.concatenate([rows, np.zeros((1, 6), dtype=np.float32), np.full((1, 6), 0.5, dtype=np.float32)])
    assert 0 < np.abs(run(middle) - whole(middle)).max() < 0.02


def test_dynamic_layers_are_linear_ones_and_convolutions_stay_float() -> None:
    subject = OnnxDynamic(made("cnn")[0], reduce_range=False)
    assert list(subject.layers) == ["net.head.1", "net.head.4"]
    order = kinds(subject.quantized(None, floats=["net.head.4"]))
    assert (order.count("Conv"), order.count("MatMulInteger"), order.count("Gemm")) == (2, 1, 1)
    assert len(subject.quantized(None, floats=[])) < len(subject.quantized(None, floats=list(subject.layers)))


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from pipeline.quantization.arithmetic import of_this_machine
from pipeline.quantization.onnx_static import OnnxStatic
from serving.files import sha256_of
rows = np.load(sys.argv[2])
with OnnxStatic.opened(Path(sys.argv[1]).read_bytes(), rows, of_this_machine(), ("entropy",)) as subject:
    print(sha256_of(subject.quantized("entropy", floats=[subject.layers[0]])))
"""


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    payload, rows = made("mlp")
    (tmp_path / "float.onnx").write_bytes(payload)
    np.save(tmp_path / "rows.npy", rows)
    with OnnxStatic.opened(payload, rows, of_this_machine(), ("entropy",)) as subject:
        here = sha256_of(subject.quantized("entropy", floats=[subject.layers[0]]))
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "float.onnx"), str(tmp_path / "rows.npy")]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == here
