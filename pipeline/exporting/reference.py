"""What the train rows looked like, in the bundle, so that a service can tell when its inputs no longer do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.schema import Schema

_BINS = 10


def reference(inputs: NDArray[np.float32], answers: NDArray[np.float32], schema: Schema) -> dict[str, Any]:
    """Return distributions of train rows and of the model's answers to them.

    inputs: (rows, *shape) raw; answers: (rows, outputs). A table has one distribution for each column, an image one for all
    pixels and one for each row's mean. `edges` has one entry more than `shares`; shares sum to 1.
    """
    if schema.features:
        columns = {feature.name: inputs[:, index] for index, feature in enumerate(schema.features)}
    else:
        columns = {"pixel": inputs.reshape(-1), "row mean": inputs.reshape(len(inputs), -1).mean(axis=1)}
    return {
        "rows": len(inputs),
        "inputs": {name: _distribution(values) for name, values in columns.items()},
        "predictions": _predictions(answers, schema),
    }


def _predictions(answers: NDArray[np.float32], schema: Schema) -> dict[str, Any]:
    if schema.task == "regression":
        return {schema.target: _distribution(answers[:, 0])}
    shares = np.bincount(answers.argmax(1), minlength=len(schema.classes)) / len(answers)
    return {"classes": dict(zip(schema.classes, shares.tolist(), strict=True))}


def _distribution(values: NDArray[np.float32]) -> dict[str, Any]:
    edges = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, _BINS + 1)))
    if edges.size == 1:  # a constant
        edges = np.array([edges[0], edges[0]])
    counts, _ = np.histogram(values, bins=edges)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "edges": edges.tolist(),
        "shares": (counts / values.size).tolist(),
    }
