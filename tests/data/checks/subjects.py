"""Split rows for the checks to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Split
from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from serving.schema import Feature, Schema, Task

ROWS = 600


def split_in_turns(rows: int) -> dict[Split, NDArray[np.int64]]:
    """Six of ten rows for train, two for validation, two for test."""
    turn = np.arange(rows) % 10
    return {
        split: np.flatnonzero((turn >= low) & (turn < high))
        for split, low, high in zip(SPLITS, (0, 6, 8), (6, 8, 10), strict=True)
    }


def make_subject(
    inputs: Any,
    targets: Any,
    *,
    task: Task = "classification",
    classes: Sequence[str] = ("no", "yes"),
    features: Sequence[Feature] = (),
    outputs: tuple[str, ...] = (),
    groups: Any = None,
    splits: dict[Split, NDArray[np.int64]] | None = None,
    config: PrepareConfig | None = None,
) -> Subject:
    """Rows in turns to train, validation and test; row 0 is on line 2. Columns without features are numbers a, b, c, …"""
    values, answers = np.asarray(inputs, dtype=np.float32), np.asarray(targets)
    image = values.ndim > 2
    columns = tuple(features) or tuple(Feature(chr(97 + at), 0, 1) for at in range(0 if image else values.shape[1]))
    numbers = np.arange(len(values)) if groups is None else np.asarray(groups)
    rows = splits or split_in_turns(len(values))
    schema = Schema(
        task=task,
        kind="image" if image else "table",
        shape=values.shape[1:],
        target=", ".join(outputs) or "y",
        minimum=0,
        maximum=1,
        classes=() if task == "regression" else tuple(classes),
        targets=outputs,
        features=columns,
    )
    return Subject(
        schema=schema,
        section=config or PrepareConfig(),
        inputs={split: values[at] for split, at in rows.items()},
        targets={split: answers[at] for split, at in rows.items()},
        rows=rows,
        groups={split: numbers[at] for split, at in rows.items()},
        counts={split: len(at) for split, at in rows.items()},
        place=lambda row: f"line {row + 2}",
    )


def noise(columns: int, *, rows: int = ROWS, seed: int = 0) -> NDArray[np.float64]:
    """Normal numbers that say nothing of anything, (rows, columns)."""
    return np.random.default_rng(seed).normal(size=(rows, columns))


def coins(*, rows: int = ROWS, seed: int = 1) -> NDArray[np.int64]:
    """0 or 1 for each row, by chance."""
    return np.random.default_rng(seed).integers(0, 2, rows)


def only(findings: list[Finding]) -> Finding:
    """The one finding, which says what was looked at, or what is wrong, and then also what to do."""
    (finding,) = findings
    assert finding.text
    assert finding.verdict == "PASS" or finding.advice
    return finding
