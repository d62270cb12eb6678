"""The bundle of one artifact: what is deployed, with requests whose answers prove it and what the train rows looked like."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Listed, Prepared
from pipeline.config import Config
from pipeline.exporting.formats import RUNTIME
from pipeline.exporting.parity import Tolerance
from pipeline.exporting.reference import reference
from pipeline.exporting.requests import golden, golden_cells, pictures_of
from pipeline.manifest import now
from serving.bundle import GOLDEN, REFERENCE, Artifact, Lineage, Provider, write_bundle
from serving.files import sha256_of
from serving.schema import Array

_ROUNDINGS = 8  # of the last steps of a graph, each by half a unit in the last place of the largest value or less
_MOST_VALUES = 500_000  # in golden arrays: JSON of large images takes longer to read than the model to load


def bundle_artifact(
    config: Config,
    prepared: Prepared,
    listed: Listed,
    payload: bytes,
    *,
    folder: Path,
    run: str,
    answer: Callable[[Array], Array],
    metrics: dict[str, Any],
    provider: Provider = "cpu",
) -> None:
    """Write the bundle of a proven artifact below `folder`.

    payload: the artifact's bytes. run: id of the training run. answer: what was evaluated, (rows, *shape) raw -> (rows,
    outputs): its answers become the golden ones. metrics: of splits, as the bundle has them. provider: what computed these
    answers, and will serve.
    """
    section, schema = config.export, prepared.schema
    inputs, targets = prepared.split("validation")
    train, _ = prepared.split("train")
    requests = _requests(prepared, inputs, targets, section.golden_rows)
    _, pictures = pictures_of(prepared)
    replayed = golden(schema, requests, answer, pictures=pictures, tolerance=tolerance_for(config, prepared))
    write_bundle(
        folder,
        {
            listed.file: payload,
            GOLDEN: msgspec.json.encode(replayed),
            REFERENCE: msgspec.json.encode(reference(train, answer(train), schema)),
        },
        name=config.name,
        version=run,
        created=now(),
        schema=schema,
        artifact=Artifact(listed.file, RUNTIME[listed.format], listed.precision, provider),
        lineage=Lineage(
            run=run,
            data=prepared.digest,
            statistics=prepared.manifest.makes[Prepared.STATISTICS].sha256,
            checkpoint=listed.checkpoint,
            artifact=sha256_of(payload),
        ),
        metrics=metrics,
        parity=listed.parity,
    )


def tolerance_for(config: Config, prepared: Prepared) -> Tolerance:
    """Return how nearly an artifact must answer.

    Of values, export.atol and export.rtol are in units of the target's spread: 0.1 proves nothing of years around 2020, and all
    of incomes around 1e6. What 32 bits round away of values far from 0 is allowed on top.
    """
    section = config.export
    if prepared.schema.task != "regression":
        return Tolerance(section.atol, section.rtol)
    targets = prepared.split("train")[1].astype(np.float64)
    targets = targets.reshape(len(targets), -1)
    center, spread = targets.mean(axis=0), targets.std(axis=0)
    rounded = _ROUNDINGS * float(np.finfo(np.float32).eps) * np.abs(targets).max(axis=0)
    atol = section.atol * np.where(spread > 0, spread, 1.0) + rounded
    return Tolerance(atol.tolist(), section.rtol, center.tolist())


def _requests(prepared: Prepared, inputs: Array, targets: NDArray[Any], count: int) -> list[Any]:
    """Return validation rows of every class as a client sends them: cells of a table, half of them the messiest, or arrays."""
    schema = prepared.schema
    classes = len(schema.classes)
    if schema.features:
        kept = prepared.requests
        messy = range(min(count // 2, len(kept)))
        others = golden_rows(targets[prepared.request_rows], count - len(messy), classes=classes).tolist()
        return golden_cells(schema, [kept[row] for row in dict.fromkeys([*messy, *others])])
    count = min(count, max(classes, 1, _MOST_VALUES // inputs[0].size))
    found: list[Any] = inputs[golden_rows(targets, count, classes=classes)].tolist()
    return found


def golden_rows(targets: NDArray[Any], count: int, *, classes: int) -> NDArray[np.int64]:
    """Return up to `count` row numbers: taking turns over the classes or labels, or spread over the range of each value.

    targets: (rows,) classes or values, (rows, labels) or (rows, values). classes: number of classes or labels; 0 for values.
    Rows without a label have their turn, too.
    """
    if not classes:
        values = targets.reshape(len(targets), -1).T  # (values, rows)
        orders = [np.argsort(column, kind="stable") for column in values]
        places = np.linspace(0, len(targets) - 1, min(max(1, count // len(orders)), len(targets))).astype(int)
        return np.unique(np.stack(orders)[:, places].T.reshape(-1)[:count])
    turn = np.full(len(targets), len(targets))  # how many rows of the same class, or with the same label, stand before each row
    for having in _groups(targets, classes):
        members = np.flatnonzero(having)
        turn[members] = np.minimum(turn[members], np.arange(len(members)))
    return np.sort(np.argsort(turn, kind="stable")[:count])


def _groups(targets: NDArray[Any], classes: int) -> Iterator[NDArray[np.bool]]:
    """Yield which rows, (rows,), are of each class; or have each label, and which have none."""
    having: NDArray[np.bool]
    for index in range(classes):
        having = targets[:, index] > 0 if targets.ndim == 2 else targets == index
        yield having
    if targets.ndim == 2:
        having = (targets == 0).all(axis=1)
        yield having
