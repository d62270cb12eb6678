"""The proof that an artifact answers like the model that was evaluated.

On every validation row, at several batch sizes, through the Predictor that will serve it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from serving.schema import Array


class Worst(msgspec.Struct, frozen=True):
    """The row on which an artifact and the model differ most, beyond what is allowed."""

    row: int
    batch_size: int
    model: list[float]
    artifact: list[float]


class Parity(msgspec.Struct, frozen=True):
    """The comparison of one artifact with the model. `argmax_agreement` is None for regression."""

    rows: int
    batch_sizes: list[int]
    max_abs_diff: float
    argmax_agreement: float | None
    atol: float
    rtol: float
    worst: Worst
    passed: bool


def compare(
    predict: Callable[[Array], Array], inputs: Array, expected: Array, *, batch_sizes: Sequence[int], atol: float, rtol: float
) -> Parity:
    """Compare an artifact's answers with the model's.

    inputs: (rows, *shape) raw; expected: (rows, outputs), the model's answers. An answer a passes against b when
    |a - b| <= atol + rtol * |b|; a class that changed fails whatever the difference. NaN never passes.
    """
    worst: tuple[float, Worst] | None = None
    largest, agreement = 0.0, 1.0
    for size in batch_sizes:
        found = np.concatenate([predict(inputs[start : start + size]) for start in range(0, len(inputs), size)])
        difference = np.nan_to_num(np.abs(found - expected), nan=np.inf)
        beyond = (difference - rtol * np.abs(expected)).max(axis=1)
        row = int(beyond.argmax())
        largest = max(largest, float(difference.max()))
        agreement = min(agreement, float((found.argmax(1) == expected.argmax(1)).mean()))
        if worst is None or beyond[row] > worst[0]:
            worst = float(beyond[row]), Worst(row, size, expected[row].tolist(), found[row].tolist())
    assert worst is not None
    return Parity(
        rows=len(inputs),
        batch_sizes=list(batch_sizes),
        max_abs_diff=largest,
        argmax_agreement=agreement if expected.shape[1] > 1 else None,
        atol=atol,
        rtol=rtol,
        worst=worst[1],
        passed=worst[0] <= atol and agreement == 1.0,
    )


def refusal(name: str, parity: Parity) -> str:
    """Say in one line by what an artifact failed."""
    worst = parity.worst
    agreement = f", argmax agreement {parity.argmax_agreement:.4f}" if parity.argmax_agreement is not None else ""
    return (
        f"export: {name} does not answer like the model: largest difference {parity.max_abs_diff:.3g}{agreement}; "
        f"validation row {worst.row} at batch size {worst.batch_size}: "
        f"model {_shown(worst.model)}, artifact {_shown(worst.artifact)}; "
        f"allowed: {parity.atol:g} + {parity.rtol:g} of the answer (export.atol, export.rtol)"
    )


def _shown(values: Sequence[Any]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values[:4]) + (", …]" if len(values) > 4 else "]")
