"""The one class that answers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace
from onnx import helper

from serving.answers import answers as answers_of
from serving.bundle import Bundle, Golden
from serving.errors import BundleError, InvalidInput
from serving.predictor import Predictor
from serving.schema import Schema
from tests.serving.conftest import (
    IMAGE,
    REGRESSION,
    TABLE,
    Array,
    assert_close,
    expected_of,
    golden_of,
    linear_onnx,
    onnx_of,
    rows_of,
    torchscript_of,
    weights_of,
)

SCHEMAS = pytest.mark.parametrize("schema", [TABLE, IMAGE, REGRESSION], ids=["table", "image", "regression"])


def onnx_predictor(schema: Schema) -> Predictor:
    return Predictor(linear_onnx(schema), schema=schema, runtime="onnxruntime")


def square_root_onnx() -> bytes:
    """sqrt(x·W): no number for rows where x·W is negative, zero for zeros."""
    nodes = [helper.make_node("MatMul", ["rows", "weights"], ["values"]), helper.make_node("Sqrt", ["values"], ["answers"])]
    return onnx_of(TABLE, nodes, weights=weights_of(TABLE))


@SCHEMAS
@pytest.mark.parametrize("count", [1, 2, 33])
def test_the_answers_are_those_of_numpy(schema: Schema, count: int) -> None:
    rows = rows_of(schema, count)
    outputs = onnx_predictor(schema).predict(rows)
    assert outputs.dtype == np.float32
    assert_close(outputs, expected_of(schema, rows))


@pytest.mark.parametrize("schema", [TABLE, IMAGE], ids=["table", "image"])
def test_a_class_answer_names_the_likeliest_class_and_its_probabilities_sum_to_one(schema: Schema) -> None:
    predictor, rows = onnx_predictor(schema), rows_of(schema, 40)
    outputs = predictor.predict(rows)
    answers = answers_of(outputs, predictor.schema)
    assert len(answers) == 40
    for row, answer in zip(outputs.tolist(), answers, strict=True):
        assert list(answer) == ["label", "score", "probabilities"]
        assert answer["probabilities"] == dict(zip(schema.classes, row, strict=True))
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["score"] == max(row) == answer["probabilities"][answer["label"]]
    assert {answer["label"] for answer in answers} == set(schema.classes)


def test_a_regression_answer_is_the_value() -> None:
    predictor, rows = onnx_predictor(REGRESSION), rows_of(REGRESSION, 5)
    answers = answers_of(predictor.predict(rows), predictor.schema)
    assert answers == [{"value": pytest.approx(value, rel=1e-5)} for (value,) in expected_of(REGRESSION, rows).tolist()]


LABELS = replace(IMAGE, task="multilabel", classes=("c", "a", "b"))


def test_an_answer_of_labels_names_those_from_one_half_on_in_the_schemas_order() -> None:
    predictor, rows = onnx_predictor(LABELS), rows_of(LABELS, 9)
    assert_close(predictor.predict(rows), expected_of(LABELS, rows))
    outputs = np.array([[0.9, 0.1, 0.5], [0.4999, 0.0, 0.2]], dtype=np.float32)
    both, none = answers_of(outputs, predictor.schema)
    assert both == {"labels": ["c", "b"], "probabilities": dict(zip("cab", outputs[0].tolist(), strict=True))}
    assert (none["labels"], list(none["probabilities"])) == ([], ["c", "a", "b"])
    with pytest.raises(InvalidInput, match="row 1: the model has no finite answer"):
        answers_of(np.array([[0.1, 0.2, 0.3], [0.1, np.nan, 0.3]], dtype=np.float32), predictor.schema)


def test_an_answer_of_several_values_names_each() -> None:
    schema = replace(REGRESSION, target="height, weight", targets=("height", "weight"))
    predictor, rows = onnx_predictor(schema), rows_of(schema, 3)
    outputs = predictor.predict(rows)
    assert outputs.shape == (3, 2)
    assert answers_of(outputs, predictor.schema) == [
        {"values": {"height": height, "weight": weight}} for height, weight in outputs.tolist()
    ]


def rows_strategy() -> st.SearchStrategy[Array]:
    shapes = st.integers(1, 12).map(lambda count: (count, 3))
    return arrays.arrays(np.float32, shapes, elements=st.floats(-100, 100, width=32))


@settings(deadline=None, max_examples=60)
@given(first=rows_strategy(), second=rows_strategy())
def test_rows_are_answered_independently_of_their_batch(table_predictor: Predictor, first: Array, second: Array) -> None:
    together = table_predictor.predict(np.concatenate([first, second]))
    apart = np.concatenate([table_predictor.predict(first), table_predictor.predict(second)])
    assert_close(together, apart)


@pytest.fixture(scope="module")
def table_predictor() -> Predictor:
    return onnx_predictor(TABLE)


@SCHEMAS
def test_golden_requests_of_the_same_model_pass(schema: Schema) -> None:
    onnx_predictor(schema).check(golden_of(schema, 8))


def test_the_first_golden_row_whose_answer_differs_is_named_with_both_values(table_predictor: Predictor) -> None:
    golden = golden_of(TABLE)
    right = golden.outputs[2][1]
    golden.outputs[2][1] += 0.25
    with pytest.raises(BundleError) as caught:
        table_predictor.check(golden)
    message = str(caught.value)
    assert message.startswith(f"golden request 2: output 1 is {right:.6g}")
    assert f"the evaluated model gave {right + 0.25:.6g} (tolerance " in message


def test_a_golden_answer_passes_up_to_its_tolerance_and_not_beyond(table_predictor: Predictor) -> None:
    rows = rows_of(TABLE, 1)
    off_by_a_tenth = (expected_of(TABLE, rows) + 0.1).tolist()
    table_predictor.check(Golden(rows.tolist(), off_by_a_tenth, atol=0.11, rtol=0))
    with pytest.raises(BundleError, match="golden request 0"):
        table_predictor.check(Golden(rows.tolist(), off_by_a_tenth, atol=0.09, rtol=0))


def test_a_golden_answer_that_is_not_a_number_fails_at_any_tolerance() -> None:
    predictor = Predictor(square_root_onnx(), schema=TABLE, runtime="onnxruntime")
    rows = rows_of(TABLE, 8)
    undefined = np.isnan(predictor.predict(rows)).any(axis=1)
    assert undefined.any()
    assert not undefined.all()
    golden = Golden(rows.tolist(), np.zeros((8, 2)).tolist(), atol=1e9, rtol=0)
    with pytest.raises(BundleError, match=rf"^golden request {undefined.argmax()}: output \d is nan"):
        predictor.check(golden)


EMPTY: list[Any] = []


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (EMPTY, EMPTY),
        ([[0, 0, 0]], EMPTY),
        ([[0, 0, 0]], [[0.5]]),
        ([[0, 0, 0]] * 2, [[0.5, 0.5]]),
        ([[0, 0]], [[0.5, 0.5]]),
        ([[0, 0, 0], [0]], [[0.5, 0.5]] * 2),
        (["abc"], [[0.5, 0.5]]),
        ([[None, {}, 0]], [[0.5, 0.5]]),
    ],
)
def test_golden_requests_that_do_not_fit_the_schema_prove_nothing(
    table_predictor: Predictor, inputs: list[Any], outputs: list[list[float]]
) -> None:
    with pytest.raises(BundleError, match="^golden requests: shapes .* the schema promises"):
        table_predictor.check(Golden(inputs, outputs, atol=1, rtol=1))


def test_an_answer_that_is_not_finite_is_refused_with_its_row() -> None:
    predictor = Predictor(square_root_onnx(), schema=TABLE, runtime="onnxruntime")
    rows = np.zeros((4, 3), dtype=np.float32)
    rows[2] = -100 * weights_of(TABLE)[:, 0]
    with pytest.raises(InvalidInput, match="^row 2: the model has no finite answer for these values"):
        answers_of(predictor.predict(rows), predictor.schema)


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        (lambda: b"not a model", r"^onnxruntime \S+ cannot load the artifact: "),
        (lambda: linear_onnx(IMAGE), r"^the artifact does not run on a row of shape \(3,\): "),
        (lambda: linear_onnx(TABLE)[:-40], r"^onnxruntime \S+ cannot load the artifact: "),
        (
            lambda: onnx_of(TABLE, [helper.make_node("Identity", ["rows"], ["answers"])]),
            r"^the artifact returned shape \(1, 3\) where the schema promises \(1, 2\)$",
        ),
    ],
    ids=["garbage", "other rows", "cut off", "other outputs"],
)
def test_an_artifact_that_does_not_fit_the_schema_is_refused_in_one_line(artifact: Callable[[], bytes], message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Predictor(artifact(), schema=TABLE, runtime="onnxruntime")
    assert "\n" not in str(caught.value)


def test_a_torchscript_bundle_gives_the_answers_of_its_module(torchscript_bundle: Path) -> None:
    bundle = Bundle(torchscript_bundle)
    predictor, rows = Predictor.from_bundle(bundle), rows_of(TABLE, 16)
    predictor.check(bundle.golden())
    assert_close(predictor.predict(rows), expected_of(TABLE, rows))


def test_a_torchscript_artifact_that_does_not_load_or_fit_is_refused_in_one_line() -> None:
    refused = {
        r"^torch \S+ cannot load the artifact: ": b"not a model",
        r"^the artifact does not run on a row of shape \(3,\): ": torchscript_of(IMAGE),
    }
    for message, artifact in refused.items():
        with pytest.raises(BundleError, match=message) as caught:
            Predictor(artifact, schema=TABLE, runtime="torchscript")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fixture", "absent"), [("table_bundle", "torch"), ("torchscript_bundle", "onnxruntime")])
def test_a_bundle_loads_only_the_runtime_that_it_needs(request: pytest.FixtureRequest, fixture: str, absent: str) -> None:
    script = """
import sys
from pathlib import Path
from serving.bundle import Bundle
from serving.predictor import Predictor

bundle = Bundle(Path(sys.argv[1]))
Predictor.from_bundle(bundle).check(bundle.golden())
print(sorted({"torch", "onnxruntime"} & sys.modules.keys()))
"""
    folder = request.getfixturevalue(fixture)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(sorted({"torch", "onnxruntime"} - {absent}))
