"""From the model's numbers to one JSON-ready prediction for each row.

answers(outputs, schema)       # [{"label": "3", "score": 0.98, "probabilities": {…}}, …]
"""

from typing import Any

import numpy as np

from serving.errors import InvalidInput
from serving.finite import all_finite
from serving.schema import Array, Schema

LABEL_FROM = 0.5  # the least probability with which a row is given a label


def answers(outputs: Array, schema: Schema) -> list[dict[str, Any]]:
    """Turn (batch, outputs) into a prediction for each row.

    Raises InvalidInput when an answer is not finite, as after an overflow: no label follows from it, and JSON has no NaN.
    """
    refuse_not_finite(outputs)
    classes, targets = schema.classes, schema.targets
    match schema.task:
        case "regression" if targets:
            return [{"values": dict(zip(targets, row, strict=True))} for row in outputs.tolist()]
        case "regression":
            return [{"value": value} for (value,) in outputs.tolist()]
        case "multilabel":
            return [_labels(dict(zip(classes, row, strict=True))) for row in outputs.tolist()]
    return [
        {"label": classes[row.index(score)], "score": score, "probabilities": dict(zip(classes, row, strict=True))}
        for row in outputs.tolist()
        for score in [max(row)]
    ]


def refuse_not_finite(outputs: Array) -> None:
    """Raise InvalidInput naming the first row of (batch, outputs) whose answer is not finite."""
    if not all_finite(outputs):
        row = int(np.isfinite(outputs).all(axis=1).argmin())
        raise InvalidInput(
            f"row {row}: the model has no finite answer for these values; GET /info shows the range that it was trained on"
        )


def _labels(probabilities: dict[str, float]) -> dict[str, Any]:
    given = [label for label, probability in probabilities.items() if probability >= LABEL_FROM]
    return {"labels": given, "probabilities": probabilities}
