"""A model whose rows cost real computing time, so that a service of it can be overloaded by a few clients."""

import numpy as np
from onnx import helper

from serving.schema import Schema
from tests.serving.conftest import onnx_of, weights_of

WIDTH = 512


def slow_onnx(schema: Schema, layers: int) -> bytes:
    """softmax(x·W + 0·(a long chain of matrix products)): the answers of the tiny model, at a price for each row."""
    wide = np.zeros((3, WIDTH), dtype=np.float32)
    square = np.full((WIDTH, WIDTH), 1 / WIDTH, dtype=np.float32)
    last = np.zeros((WIDTH, schema.outputs), dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["rows", "wide"], ["hidden0"])]
    nodes += [helper.make_node("MatMul", [f"hidden{i}", "square"], [f"hidden{i + 1}"]) for i in range(layers)]
    nodes += [
        helper.make_node("MatMul", [f"hidden{layers}", "last"], ["nothing"]),
        helper.make_node("MatMul", ["rows", "weights"], ["values"]),
        helper.make_node("Add", ["values", "nothing"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["answers"], axis=1),
    ]
    return onnx_of(schema, nodes, wide=wide, square=square, last=last, weights=weights_of(schema))
