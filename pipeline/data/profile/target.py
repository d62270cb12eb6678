"""What is predicted: how often each class, or how the numbers are spread, in each split."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Split
from pipeline.data.profile.histogram import described, histogram
from serving.schema import Schema


def target_profile(schema: Schema, targets: dict[Split, NDArray[Any]]) -> dict[str, Any]:
    """Return the name, what is missing, and `classes` with their counts or `outputs` with their distributions.

    targets: (rows,) int64 classes or float32 values, or (rows, outputs) float32, of each split.
    """
    wide = {split: part.reshape(len(part), -1).astype(np.float64) for split, part in targets.items()}
    found = {
        "name": schema.target,
        "task": schema.task,
        "missing": {split: int(np.isnan(part).any(axis=1).sum()) for split, part in wide.items()},
        "classes": [],
        "outputs": [],
    }
    match schema.task:
        case "classification":
            counts = {
                split: np.bincount(part.astype(np.int64), minlength=len(schema.classes)) for split, part in targets.items()
            }
            return found | {"classes": _classes(schema.classes, counts)}
        case "multilabel":
            return found | {"classes": _classes(schema.classes, {s: np.nansum(part, axis=0) for s, part in wide.items()})}
        case "regression":
            names = schema.targets or (schema.target,)
            outputs = [_output(name, {split: part[:, i] for split, part in wide.items()}) for i, name in enumerate(names)]
            return found | {"outputs": outputs}


def _classes(labels: tuple[str, ...], counts: dict[Split, NDArray[Any]]) -> list[dict[str, Any]]:
    return [{"label": label} | {split: int(part[i]) for split, part in counts.items()} for i, label in enumerate(labels)]


def _output(name: str, values: dict[Split, NDArray[np.float64]]) -> dict[str, Any]:
    train = values["train"]
    return {"name": name} | described(train[~np.isnan(train)]) | {"histogram": histogram(values)}
