"""The proof that an artifact answers like the model that was evaluated.

On every validation row, at several batch sizes, through the Predictor that will serve it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.predictor import LABEL_FROM
from serving.schema import Array, Task

_ON_THE_EDGE = 1e-5  # a probability this near to LABEL_FROM gives its label or not by rounding


class Worst(msgspec.Struct, frozen=True):
    """The row on which an artifact and the model differ most, beyond what is allowed."""

    row: int
    batch_size: int
    model: list[float]
    artifact: list[float]


class Parity(msgspec.Struct, frozen=True):
    """The comparison of one artifact with the model.

    argmax_agreement: share of rows with the same likeliest class; None unless each row has one class. label_agreement: share of
    rows with the same labels, where they may have several; None otherwise. diverges: where a failed artifact leaves the model,
    in words that follow a semicolon; None where nobody looked.
    """

    rows: int
    batch_sizes: list[int]
    max_abs_diff: float
    argmax_agreement: float | None
    atol: float
    rtol: float
    worst: Worst
    passed: bool
    label_agreement: float | None = None
    diverges: str | None = None


def compare(
    predict: Callable[[Array], Array],
    inputs: Array,
    expected: Array,
    *,
    task: Task,
    batch_sizes: Sequence[int],
    atol: float,
    rtol: float,
) -> Parity:
    """Compare an artifact's answers with the model's.

    inputs: (rows, *shape) raw; expected: (rows, outputs), the model's answers. An answer a passes against b when
    |a - b| <= atol + rtol * |b|; a class or a label that changed fails whatever the difference. NaN never passes.
    """
    worst: tuple[float, Worst] | None = None
    largest, agreement = 0.0, 1.0
    for size in batch_sizes:
        found = np.concatenate([predict(inputs[start : start + size]) for start in range(0, len(inputs), size)])
        difference = np.nan_to_num(np.abs(found - expected), nan=np.inf)
        beyond = (difference - rtol * np.abs(expected)).max(axis=1)
        row = int(beyond.argmax())
        largest = max(largest, float(difference.max()))
        agreement = min(agreement, float(_same_decision(found, expected, task).mean()))
        if worst is None or beyond[row] > worst[0]:
            worst = float(beyond[row]), Worst(row, size, expected[row].tolist(), found[row].tolist())
    assert worst is not None
    return Parity(
        rows=len(inputs),
        batch_sizes=list(batch_sizes),
        max_abs_diff=largest,
        argmax_agreement=agreement if task == "classification" else None,
        atol=atol,
        rtol=rtol,
        worst=worst[1],
        passed=worst[0] <= atol and agreement == 1.0,
        label_agreement=agreement if task == "multilabel" else None,
    )


def _same_decision(found: Array, expected: Array, task: Task) -> NDArray[np.bool]:
    """Return whether each row is given the same class or labels, (rows,)."""
    same = np.ones(len(expected), dtype=np.bool)
    if task == "classification":
        same = found.argmax(1) == expected.argmax(1)
    if task == "multilabel":
        unsure = np.abs(expected - LABEL_FROM) < _ON_THE_EDGE
        same = (((found >= LABEL_FROM) == (expected >= LABEL_FROM)) | unsure).all(axis=1)
    return same


def refusal(name: str, parity: Parity) -> str:
    """Say in one line by what an artifact failed."""
    worst = parity.worst
    agreements = {"argmax": parity.argmax_agreement, "label": parity.label_agreement}
    agreement = "".join(f", {what} agreement {share:.4f}" for what, share in agreements.items() if share is not None)
    return (
        f"export: {name} does not answer like the model: largest difference {parity.max_abs_diff:.3g}{agreement}; "
        f"validation row {worst.row} at batch size {worst.batch_size}: "
        f"model {_shown(worst.model)}, artifact {_shown(worst.artifact)}; "
        f"{f'{parity.diverges}; ' if parity.diverges else ''}"
        f"allowed: {parity.atol:g} + {parity.rtol:g} of the answer (export.atol, export.rtol)"
    )


def _shown(values: Sequence[Any]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values[:4]) + (", …]" if len(values) > 4 else "]")
