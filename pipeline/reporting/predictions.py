"""Every row that was scored, as CSV: what it is, what the model answered, and where the row was in the source."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.answers import LABEL_FROM
from serving.files import write_atomic
from serving.schema import Array, Schema

Column = tuple[str, list[str]]  # name, one text for each row


def write_predictions(
    path: Path, rows: NDArray[np.int64], answers: Array, targets: NDArray[Any], schema: Schema, *, files: Sequence[str] = ()
) -> None:
    """Write a line for each row: its number in the source, its target and the prediction, in full float32 precision.

    rows: (rows,) counted from 0; files: of each row, where rows were picture files; answers: (rows, outputs); targets: (rows,)
    or (rows, outputs). Columns are `row`, `file`, `target`, `prediction` and, for classes, `score`, the probability of the
    prediction. Several values and labels have columns of their own each, such as `target height`; the `score` of a label is its
    probability, and the others say 1 where a row has it.
    """
    named = [("file", list(files))] if files else []
    columns = [("row", _texts(rows)), *named, *_columns(answers, targets, schema)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    write_atomic(path, text.getvalue().encode())


def _columns(answers: Array, targets: NDArray[Any], schema: Schema) -> Iterator[Column]:
    match schema.task:
        case "classification":
            best = answers.argmax(axis=1)
            yield "target", [schema.classes[index] for index in targets]
            yield "prediction", [schema.classes[index] for index in best]
            yield "score", _texts(answers[np.arange(len(best)), best])
        case "multilabel":
            given = answers >= LABEL_FROM
            for index, label in enumerate(schema.classes):
                yield f"target {label}", _texts(targets[:, index].astype(np.int64))
                yield f"prediction {label}", _texts(given[:, index].astype(np.int64))
                yield f"score {label}", _texts(answers[:, index])
        case "regression":
            true = targets.reshape(len(targets), -1)
            for index in range(schema.outputs):
                name = f" {schema.targets[index]}" if schema.targets else ""
                yield f"target{name}", _texts(true[:, index])
                yield f"prediction{name}", _texts(answers[:, index])


def _texts(numbers: NDArray[Any]) -> list[str]:
    """Return the shortest texts that read back as the very same numbers."""
    return [str(number) for number in numbers]
