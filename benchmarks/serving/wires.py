"""How rows travel: each server has its own path, body and answer for the same rows.

headers, body = wire.encode(rows)               # rows: (batch, *shape) float32
outputs = wire.decode(headers, body)            # (batch, outputs)
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.schema import Array

Encoded = tuple[dict[str, str], bytes]
_JSON = {"content-type": "application/json"}
_RAW = {"content-type": "application/octet-stream"}
_HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Wire:
    """A path, and both directions of it. decode: takes the answer's headers, names in lower case."""

    path: str
    encode: Callable[[Array], Encoded]
    decode: Callable[[Mapping[str, str], bytes], Array]


def _as_json(rows: Array) -> Encoded:
    return _JSON, json.dumps({"inputs": rows.tolist()}).encode()


def _array(values: Any) -> Array:
    return np.asarray(values, dtype=np.float32)


def _probabilities(_: Mapping[str, str], body: bytes) -> Array:
    return _array([list(row["probabilities"].values()) for row in json.loads(body)["predictions"]])


def _v2(rows: Array) -> dict[str, Any]:
    return {"name": "inputs", "shape": list(rows.shape), "datatype": "FP32"}


def _v2_json(rows: Array) -> Encoded:
    return _JSON, json.dumps({"inputs": [_v2(rows) | {"data": rows.ravel().tolist()}]}).encode()


def _v2_binary(rows: Array) -> Encoded:
    tensor = _v2(rows) | {"parameters": {"binary_data_size": rows.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return _RAW | {_HEADER_LENGTH: str(len(head))}, head + rows.tobytes()


def _from_v2(headers: Mapping[str, str], body: bytes) -> Array:
    """Read the first output, which is all that there is here, as JSON or in binary."""
    length = int(headers.get(_HEADER_LENGTH, len(body)))
    (first, *_) = json.loads(body[:length])["outputs"]
    size = first.get("parameters", {}).get("binary_data_size")
    values = first["data"] if size is None else np.frombuffer(body[length : length + size], dtype=np.float32)
    return _array(values).reshape(first["shape"])


def _raw(rows: Array) -> Encoded:
    return _RAW, rows.tobytes()


OURS = Wire("/predict", _as_json, _probabilities)
PLAIN = Wire("/predict", _as_json, lambda _, body: _array(json.loads(body)["outputs"]))
LIST = Wire("/predict", _as_json, lambda _, body: _array(json.loads(body)))
MLFLOW = Wire("/invocations", _as_json, lambda _, body: _array(json.loads(body)["predictions"]["outputs"]))
RAW = Wire("/raw", _raw, lambda _, body: np.frombuffer(body, dtype=np.float32).reshape(-1, 10))


def v2(model: str, *, binary: bool) -> Wire:
    """Return the Open Inference Protocol for a model, with tensors in JSON or behind it."""
    return Wire(f"/v2/models/{model}/infer", _v2_binary if binary else _v2_json, _from_v2)
