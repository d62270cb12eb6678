"""Bundles for the tests of `serving`: ONNX graphs of a few nodes and one traced module, whose answers numpy knows, too."""

import io
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import GOLDEN, REFERENCE, Artifact, Bundle, Golden, Lineage, Runtime, write_bundle
from serving.files import sha256_of
from serving.schema import Feature, Schema

Array = NDArray[np.float32]

MODEL = "model.onnx"
ATOL, RTOL = 1e-5, 1e-4

# Names as people have them in their tables: a space, a dot, letters beyond ASCII, a bracket.
FEATURES = ("age", "body mass", "größe.cm[1]")
TABLE = Schema(
    task="classification",
    kind="table",
    shape=(3,),
    target="sick",
    minimum=-2.0,
    maximum=2.0,
    classes=("no", "yes"),
    features=tuple(Feature(name, -2.0, 2.0) for name in FEATURES),
)
IMAGE = Schema(
    task="classification", kind="image", shape=(2, 2), target="digit", minimum=0.0, maximum=1.0, classes=("0", "1", "2")
)
REGRESSION = Schema(
    task="regression",
    kind="table",
    shape=(2,),
    target="price",
    minimum=0.0,
    maximum=9.0,
    features=(Feature("rooms", 1.0, 9.0), Feature("floor", 0.0, 9.0)),
)
MESSY = Schema(
    task="regression",
    kind="table",
    shape=(6,),
    target="price",
    minimum=0.0,
    maximum=20_000.0,
    features=(
        Feature("age", 0, 90, nullable=True),
        Feature("member", 0, 1, "boolean", ("no", "yes")),
        Feature("city", 1, 3, "category", ("Bern", "Zürich", "3"), nullable=True),
        Feature("joined", 0, 20_000, "date", nullable=True),
        Feature("mass", 1, 9),
    ),
)
TARGETS = Schema(
    task="regression",
    kind="table",
    shape=(2,),
    target="length, width",
    minimum=0,
    maximum=9,
    targets=("length", "width"),
    features=(Feature("a/b~c {d}", 0, 9), Feature("b", 0, 9)),
)
LABELS = Schema(
    task="multilabel",
    kind="table",
    shape=(1,),
    target="t",
    minimum=0,
    maximum=9,
    classes=("red", "round"),
    features=(Feature("x", 0, 9),),
    unused=("id",),
)
PICTURE = Schema(
    task="classification",
    kind="image",
    shape=(3, 4, 6),
    target="digit",
    minimum=0.0,
    maximum=255.0,
    classes=("0", "1", "2"),
    picture="RGB",
)


def weights_of(schema: Schema) -> Array:
    """(values, outputs), the same at every call."""
    return np.random.default_rng(0).normal(size=(math.prod(schema.shape), schema.outputs)).astype(np.float32)


def rows_of(schema: Schema, count: int, *, seed: int = 1) -> Array:
    """(count, *schema.shape) within the schema's range."""
    return np.random.default_rng(seed).uniform(schema.minimum, schema.maximum, (count, *schema.shape)).astype(np.float32)


def expected_of(schema: Schema, rows: Array) -> Array:
    """(batch, outputs) of the tiny model, computed by numpy alone."""
    values = rows.reshape(len(rows), -1) @ weights_of(schema)
    if schema.task == "regression":
        return values
    if schema.task == "multilabel":
        shares: Array = 1 / (1 + np.exp(-values))
        return shares
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    answers: Array = powers / powers.sum(axis=1, keepdims=True)
    return answers


def assert_close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, atol=ATOL, rtol=RTOL)


def onnx_of(schema: Schema, nodes: Sequence[onnx.NodeProto], **constants: NDArray[Any]) -> bytes:
    """A graph from `rows` to `answers` with a free batch dimension."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", *schema.shape])],
        [helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    payload: bytes = model.SerializeToString()
    return payload


def linear_onnx(schema: Schema) -> bytes:
    """x·W for regression, softmax(x·W) for classes, sigmoid(x·W) for labels."""
    last = "answers" if schema.task == "regression" else "values"
    nodes = [helper.make_node("Flatten", ["rows"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "weights"], [last])]
    if schema.task == "classification":
        nodes.append(helper.make_node("Softmax", ["values"], ["answers"], axis=1))
    if schema.task == "multilabel":
        nodes.append(helper.make_node("Sigmoid", ["values"], ["answers"]))
    return onnx_of(schema, nodes, weights=weights_of(schema))


def torchscript_of(schema: Schema) -> bytes:
    """The same softmax(x·W), traced by torch."""
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.from_numpy(weights_of(schema)))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.softmax(rows.flatten(1) @ self.weights, dim=1)

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(Tiny().eval(), torch.from_numpy(rows_of(schema, 2))), buffer)
    return buffer.getvalue()


def golden_of(schema: Schema, count: int = 4) -> Golden:
    """Golden requests with numpy's answers."""
    rows = rows_of(schema, count)
    return Golden(inputs=rows.tolist(), outputs=expected_of(schema, rows).tolist(), atol=ATOL, rtol=RTOL)


def make_bundle(
    folder: Path,
    schema: Schema,
    artifact: bytes | None = None,
    *,
    golden: Golden | None = None,
    name: str = MODEL,
    runtime: Runtime = "onnxruntime",
    version: str = "1",
) -> Path:
    """Write a whole bundle, by default of the linear ONNX model and its own golden answers."""
    payload = linear_onnx(schema) if artifact is None else artifact
    files = {
        name: payload,
        GOLDEN: msgspec.json.encode(golden or golden_of(schema)),
        REFERENCE: msgspec.json.encode({"rows": 0}),
    }
    write_bundle(
        folder,
        files,
        name="tiny",
        version=version,
        created="2026-11-20T00:00:00Z",
        schema=schema,
        artifact=Artifact(name, runtime, "fp32"),
        lineage=Lineage(run="run", data="d" * 64, statistics="s" * 64, checkpoint="c" * 64, artifact=sha256_of(payload)),
        metrics={"validation": {"rows": 10}},
        parity={"passed": True},
    )
    return folder


@pytest.fixture(scope="session")
def table_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("table") / "bundle", TABLE)


@pytest.fixture(scope="session")
def image_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("image") / "bundle", IMAGE)


@pytest.fixture(scope="session")
def regression_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("regression") / "bundle", REGRESSION)


@pytest.fixture(scope="session")
def torchscript_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchscript") / "bundle"
    return make_bundle(folder, TABLE, torchscript_of(TABLE), name="model.torchscript.pt", runtime="torchscript")


@pytest.fixture
def own_bundle(table_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(table_bundle, tmp_path / "bundle")


@pytest.fixture
def client(table_bundle: Path) -> FlaskClient:
    from serving.app import create_app

    return create_app(Bundle(table_bundle)).test_client()
