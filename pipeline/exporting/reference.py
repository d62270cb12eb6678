"""What the train rows looked like, in the bundle, so that a service can tell when its inputs no longer do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.answers import LABEL_FROM
from serving.schema import Feature, Schema

_BINS = 10


def reference(inputs: NDArray[np.float32], answers: NDArray[np.float32], schema: Schema) -> dict[str, Any]:
    """Return distributions of train rows and of the model's answers to them.

    inputs: (rows, *shape) raw; answers: (rows, outputs). A table has one distribution for each column, of a date that of its
    day, an image one for all pixels and one for each row's mean. `edges` has one entry more than `shares`; shares sum to 1. A
    category has the share of each of its texts, and of all others as `unseen`, of rows that have one. `missing` is the share of
    rows without a value.
    """
    if schema.features:
        starts = zip(schema.features, schema.starts, strict=True)
        columns = {feature.name: _column(inputs[:, start], feature) for feature, start in starts}
    else:
        rows = inputs.reshape(len(inputs), -1)
        columns = {"pixel": _distribution(rows.reshape(-1)), "row mean": _distribution(rows.mean(axis=1))}
    return {"rows": len(inputs), "inputs": columns, "predictions": _predictions(answers, schema)}


def _column(values: NDArray[np.float32], feature: Feature) -> dict[str, Any]:
    missing = np.isnan(values)
    there = values[~missing]
    if feature.kind == "category":
        counts = np.bincount(there.astype(np.int64), minlength=len(feature.categories) + 1)
        unseen, *shares = (counts / max(1, len(there))).tolist()  # code 0 is that of rare categories, which are not kept
        found: dict[str, Any] = {"categories": dict(zip(feature.categories, shares, strict=True)), "unseen": unseen}
    else:
        found = _distribution(there)
    return found | ({"missing": float(missing.mean())} if feature.nullable else {})


def _predictions(answers: NDArray[np.float32], schema: Schema) -> dict[str, Any]:
    match schema.task:
        case "classification":
            shares = np.bincount(answers.argmax(1), minlength=len(schema.classes)) / len(answers)
            return {"classes": dict(zip(schema.classes, shares.tolist(), strict=True))}
        case "multilabel":
            shares = (answers >= LABEL_FROM).mean(axis=0)
            return {"labels": dict(zip(schema.classes, shares.tolist(), strict=True))}
        case "regression":
            names = schema.targets or (schema.target,)
            return {name: _distribution(values) for name, values in zip(names, answers.T, strict=True)}


def _distribution(values: NDArray[np.float32]) -> dict[str, Any]:
    if not values.size:
        return {"mean": None, "std": None, "edges": [], "shares": []}
    wide = values.astype(np.float64)
    edges = _edges(wide)
    counts, _ = np.histogram(values, bins=edges)
    return {
        "mean": float(wide.mean()),
        "std": float(wide.std()),
        "edges": edges.tolist(),
        "shares": (counts / values.size).tolist(),
    }


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return edges of bins that hold about as many values each, or one value each where there are no more than bins."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)))
    if edges.size <= _BINS:  # else at least _BINS + 1 values are different, and looking for them costs a sort
        found = np.unique(values)
        if found.size <= _BINS:  # quantiles of 0 and 1 are 0 and 1: a single bin, in which no shift shows
            edges = np.concatenate([found[:1], (found[1:] + found[:-1]) / 2, found[-1:]])
    return edges
