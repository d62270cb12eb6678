"""The proof that an artifact answers like the model that was evaluated.

On every validation row, at several batch sizes, through the Predictor that will serve it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import LABEL_FROM
from serving.schema import Array, Task

_ON_THE_EDGE = 1e-5  # a probability this near to LABEL_FROM, or to the likeliest one, decides or not by rounding


class Tolerance(msgspec.Struct, frozen=True):
    """How nearly an artifact must answer: a passes against b when |a - b| <= atol + rtol * |b - center|.

    atol: one number, or one for each output. center: one number for each output; empty: 0.
    """

    atol: float | list[float]
    rtol: float
    center: list[float] = []

    def allowed(self, expected: Array) -> NDArray[np.float64]:
        """Return what each answer, (rows, outputs), may be off by."""
        apart = np.abs(expected.astype(np.float64) - np.asarray(self.center or 0.0))
        found: NDArray[np.float64] = np.asarray(self.atol) + self.rtol * apart
        return found


class Worst(msgspec.Struct, frozen=True):
    """The row on which an artifact and the model differ most, beyond what is allowed, and what was allowed for that output."""

    row: int
    batch_size: int
    model: list[float]
    artifact: list[float]
    output: int = 0
    allowed: float = 0.0


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
    tolerance: Tolerance
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
    tolerance: Tolerance,
) -> Parity:
    """Compare an artifact's answers with the model's.

    inputs: (rows, *shape) raw; expected: (rows, outputs), the model's answers. A class or a label that changed fails whatever
    the difference. NaN never passes.
    """
    worst: tuple[float, Worst] | None = None
    largest, agreement, allowed = 0.0, 1.0, tolerance.allowed(expected)
    for size in batch_sizes:
        found = np.concatenate([predict(inputs[start : start + size]) for start in range(0, len(inputs), size)])
        difference = np.nan_to_num(np.abs(found - expected), nan=np.inf)
        beyond = difference - allowed
        row, output = (int(place) for place in np.unravel_index(beyond.argmax(), beyond.shape))
        largest = max(largest, float(difference.max()))
        agreement = min(agreement, float(_same_decision(found, expected, task).mean()))
        if worst is None or beyond[row, output] > worst[0]:
            answers = expected[row].tolist(), found[row].tolist()
            worst = float(beyond[row, output]), Worst(row, size, *answers, output, float(allowed[row, output]))
    assert worst is not None
    return Parity(
        rows=len(inputs),
        batch_sizes=list(batch_sizes),
        max_abs_diff=largest,
        argmax_agreement=agreement if task == "classification" else None,
        tolerance=tolerance,
        worst=worst[1],
        passed=worst[0] <= 0 and agreement == 1.0,
        label_agreement=agreement if task == "multilabel" else None,
    )


def _same_decision(found: Array, expected: Array, task: Task) -> NDArray[np.bool]:
    """Return whether each row is given the same class or labels, (rows,)."""
    same = np.ones(len(expected), dtype=np.bool)
    if task == "classification":
        given = np.take_along_axis(expected, found.argmax(1, keepdims=True), axis=1)[:, 0]
        same = expected.max(1) - given < _ON_THE_EDGE  # two classes as likely as each other: rounding decides
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
        f"allowed: {worst.allowed:.3g} for output {worst.output} (export.atol, export.rtol)"
    )


def _shown(values: Sequence[Any]) -> str:
    return "[" + ", ".join(f"{value:.7g}" for value in values[:4]) + (", …]" if len(values) > 4 else "]")
