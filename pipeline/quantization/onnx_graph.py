"""ONNX graphs as quantization takes them: optimized, with layers that have names for people, and written as one file."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto
from onnxruntime.quantization.shape_inference import quant_pre_process

MULTIPLYING = ("Conv", "Gemm", "MatMul")
_WEIGHT = ".weight"


def prepared(payload: bytes) -> ModelProto:
    """Return the model of an exported file with normalizations folded into layers, constants computed, and all nodes named."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = onnx.load_from_string(payload)
        # What the exporter notes about shapes inside contradicts what the optimizer makes of them.
        del model.graph.value_info[:]
        onnx.save(model, folder / "exported.onnx")  # a path: of a model in memory the quantizer moves the weights away
        quant_pre_process(str(folder / "exported.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
        model = onnx.load(folder / "prepared.onnx")
    del model.graph.value_info[:]
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def layers_of(model: ModelProto, *, constant: bool) -> dict[str, NodeProto]:
    """Return the nodes that multiply by weights, by name of the module that they were, in the network's order.

    constant: only those whose weights are a constant matrix, which MatMul and Gemm may have as their second input. The name is
    the one that the weights have in the checkpoint, `net.features.0.0`; the node's own where there is none.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: list[tuple[str, NodeProto]] = []
    for node in model.graph.node:
        weights = constants.get(node.input[1]) if node.op_type in MULTIPLYING else None
        if constant and (weights is None or node.op_type == "Conv" or len(weights.dims) != 2):
            continue
        if node.op_type in MULTIPLYING:
            named = node.input[1].endswith(_WEIGHT)
            found.append((node.input[1].removesuffix(_WEIGHT) if named else node.name, node))
    uses = Counter(name for name, _ in found)
    return {name if uses[name] == 1 else f"{name} ({node.name})": node for name, node in found}


def serialized(model: ModelProto) -> bytes:
    """Return the checked model as the bytes of one file, without notes on how it was made."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    for graph in (model.graph,):
        del graph.value_info[:]  # shapes as the float graph had them; a runtime finds its own
        for node in graph.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    payload: bytes = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(payload)
    return payload


@contextmanager
def saved(model: ModelProto) -> Iterator[Path]:
    """Write a model into a folder that is there for a while, beside which others may be written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float.onnx")
        onnx.save(model, path)
        yield path
