"""Dynamic int8 ONNX: weights of linear layers are stored as integers, and each row is scaled when it comes.

onnxruntime's own quantizer scales a whole batch by its largest value, so that a row's answer depends on the rows beside it: 1 %
of the answer for 256 normal values. Here every row has its own scale, and the same answer alone as in any batch.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pipeline.quantization.bounded import Calibration
from pipeline.quantization.onnx_graph import layers_of, prepared, serialized
from serving.schema import Array

_MIDDLE = 128  # what 0 becomes in unsigned activations, whose ends are 1 and 255
_LARGEST = 127
_SMALLEST = 1e-30  # a scale for rows of zeros


class OnnxDynamic:
    """A `Subject` whose layers are those with a constant matrix; convolutions stay float, where this is 6 times slower."""

    def __init__(self, payload: bytes, *, reduce_range: bool) -> None:
        """payload: an exported float file. reduce_range: weights keep to 7 bits."""
        self._model, self._reduce = prepared(payload), reduce_range
        self.layers: Sequence[str] = [
            name for name, node in layers_of(self._model, constant=True).items() if node.op_type == "MatMul" or _plain(node)
        ]
        self.calibrations: Sequence[Calibration] = (None,)

    def quantized(self, calibration: Calibration, *, floats: Collection[str]) -> bytes:
        """Return the file with all layers quantized but those in `floats`."""
        assert calibration is None
        model = ModelProto()
        model.CopyFrom(self._model)
        by_node = {node.name: name for name, node in layers_of(model, constant=True).items()}
        chosen = [name for name in self.layers if name not in floats]
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        nodes: list[NodeProto] = []
        added: list[TensorProto] = []
        for node in model.graph.node:
            if by_node.get(node.name) in chosen:
                weights = numpy_helper.to_array(constants[node.input[1]])
                inside, stored = _row_by_row(node, weights, top=63 if self._reduce else _LARGEST)
                nodes += inside
                added += stored
            else:
                nodes.append(node)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, *added])
        return serialized(model)


def _row_by_row(node: NodeProto, weights: Array, *, top: int) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return nodes and constants in the place of a linear layer.

    weights: (inputs, outputs), or transposed as the node says. top: the largest integer of a weight.
    """
    if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
        weights = weights.T
    largest = np.abs(weights).max(axis=0)  # (outputs,)
    scales = np.where(largest > 0, largest / top, 1.0).astype(np.float32)
    integers = np.rint(weights / scales).astype(np.int8)
    made: list[NodeProto] = []
    stored: list[TensorProto] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        stored.append(numpy_helper.from_array(np.ascontiguousarray(value), f"{node.name}.{name}"))
        return f"{node.name}.{name}"

    def add(kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = f"{node.name}.{kind}.{len(made)}"
        made.append(helper.make_node(kind, list(inputs), [out or name], name, **attributes))
        return out or name

    rows = node.input[0]
    axis = constant("axis", np.array([-1], dtype=np.int64))
    reach = add("ReduceMax", add("Abs", rows), axis, keepdims=1)  # (rows, 1)
    scaled = add("Mul", reach, constant("step", np.array(1 / _LARGEST, dtype=np.float32)))
    scale = add("Max", scaled, constant("smallest", np.array(_SMALLEST, dtype=np.float32)))
    steps = add("Round", add("Div", rows, scale))
    moved = add("Add", steps, constant("middle", np.array(_MIDDLE, dtype=np.float32)))
    activations = add("Cast", moved, to=TensorProto.UINT8)
    zero = constant("zero", np.array(_MIDDLE, dtype=np.uint8))
    sums = add("Cast", add("MatMulInteger", activations, constant("weight", integers), zero), to=TensorProto.FLOAT)
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] else None
    unit = add("Mul", sums, scale)
    answer = add("Mul", unit, constant("scale", scales), out=None if bias else node.output[0])
    if bias:
        add("Add", answer, bias, out=node.output[0])
    return made, stored


def _plain(gemm: NodeProto) -> bool:
    """Return whether a Gemm is x W + b and nothing more."""
    values = {
        attribute.name: attribute.f if attribute.name in {"alpha", "beta"} else attribute.i for attribute in gemm.attribute
    }
    return not values.get("transA", 0) and values.get("alpha", 1.0) == 1.0 and values.get("beta", 1.0) == 1.0
