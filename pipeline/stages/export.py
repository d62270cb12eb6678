"""export: Prepared + Model -> Exported."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.artifacts import Exported, Model, Prepared
from pipeline.config import Config
from pipeline.config.sections import Format
from pipeline.errors import GateRefused
from pipeline.exporting.formats import RUNTIME, SUFFIX, export
from pipeline.exporting.parity import Parity, compare, refusal
from pipeline.exporting.reference import reference
from pipeline.exporting.requests import golden, golden_cells, pictures_of, prove_requests
from pipeline.manifest import now
from pipeline.metrics.intervals import as_json
from pipeline.metrics.score import score
from pipeline.models.deployable import Deployable
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.deployed import answers, deployable_of
from serving.bundle import GOLDEN, REFERENCE, Artifact, Lineage, write_bundle
from serving.errors import first_line
from serving.files import sha256_of, write_atomic
from serving.predictor import Predictor
from serving.schema import Array, Schema

_PRECISION = "fp32"
_MOST_VALUES = 500_000  # in golden arrays: JSON of large images takes longer to read than the model to load
_CONFIDENCE, _RESAMPLES = 0.95, 1000  # of the validation metrics in the bundle


def run(config: Config, prepared: Prepared, model: Model, *, out: Path, tracker: Tracker) -> Outcome:
    """Write each format, prove it on the whole validation split, and make the bundle of the one that is served."""
    section, schema = config.export, prepared.schema
    deployable = deployable_of(prepared, model)
    inputs, _ = prepared.split("validation")
    prove_requests(prepared, inputs)
    expected = answers(deployable, inputs)

    proofs: dict[str, Parity] = {}
    atol = _atol(config, prepared)
    for form in section.formats:
        name = file_name(model, form)
        tracker.event("working_on", what=f"{form}: writing and proving on {len(inputs)} validation rows")
        payload = export(deployable, torch.from_numpy(inputs[:2]), form)
        write_atomic(out / name, payload)
        proofs[name] = _prove(config, payload, form, schema, inputs, expected, atol)
        tracker.metrics({f"export/{form}/max_abs_diff": proofs[name].max_abs_diff, f"export/{form}/bytes": len(payload)})
    write_atomic(out / Exported.PARITY, msgspec.json.format(msgspec.json.encode(proofs), indent=2))
    refusals = [refusal(name, proof) for name, proof in proofs.items() if not proof.passed]
    if refusals:
        raise GateRefused(*refusals)

    _write_bundle(config, prepared, model, deployable, out, proofs)
    largest = max(proof.max_abs_diff for proof in proofs.values())
    formats = " and ".join(section.formats)
    summary = f"{formats}: same answers as the model on {len(inputs)} validation rows (largest difference {largest:.2g})"
    return Outcome(summary, metrics={"export/max_abs_diff": largest})


def _prove(config: Config, payload: bytes, form: Format, schema: Schema, inputs: Array, expected: Array, atol: float) -> Parity:
    section = config.export
    try:
        predictor = Predictor(payload, schema=schema, runtime=RUNTIME[form])
        return compare(
            predictor.predict,
            inputs,
            expected,
            task=schema.task,
            batch_sizes=section.batch_sizes,
            atol=atol,
            rtol=section.rtol,
        )
    except Exception as error:  # a runtime raises what it likes on a file that it cannot run
        raise GateRefused(f"export: {form}: the file fails on validation rows: {first_line(error)}") from error


def _atol(config: Config, prepared: Prepared) -> float:
    """Return export.atol, as a share of the spread of a target that spreads over less than 1: 1e-4 proves nothing of 1e-14."""
    atol: float = config.export.atol
    if prepared.schema.task != "regression":
        return atol
    spread = float(prepared.split("train")[1].astype(np.float64).std(axis=0).min())
    return atol * min(1.0, spread) if spread else atol


def file_name(model: Model, form: Format) -> str:
    """Return `<variant>-<precision>.<suffix>`; the variant is the stage that made the model."""
    return f"{model.manifest.stage}-{_PRECISION}.{SUFFIX[form]}"


def _write_bundle(
    config: Config, prepared: Prepared, model: Model, deployable: Deployable, out: Path, proofs: dict[str, Parity]
) -> None:
    section, schema = config.export, prepared.schema
    name = file_name(model, section.bundle)
    payload = (out / name).read_bytes()
    inputs, targets = prepared.split("validation")
    train, _ = prepared.split("train")
    predictor = Predictor(payload, schema=schema, runtime=RUNTIME[section.bundle])
    scored = score(predictor.predict(inputs), targets, schema, confidence=_CONFIDENCE, resamples=_RESAMPLES, seed=config.seed)
    requests = _requests(prepared, inputs, targets, section.golden_rows)
    _, pictures = pictures_of(prepared)
    replayed = golden(
        schema, requests, partial(answers, deployable), pictures=pictures, atol=_atol(config, prepared), rtol=section.rtol
    )
    write_bundle(
        out / "bundle",
        {
            name: payload,
            GOLDEN: msgspec.json.encode(replayed),
            REFERENCE: msgspec.json.encode(reference(train, answers(deployable, train), schema)),
        },
        name=config.name,
        version=model.folder.parent.name,
        created=now(),
        schema=schema,
        artifact=Artifact(name, RUNTIME[section.bundle], _PRECISION),
        lineage=Lineage(
            run=model.folder.parent.name,
            data=prepared.digest,
            statistics=prepared.manifest.makes[Prepared.STATISTICS].sha256,
            checkpoint=model.manifest.makes[Model.BEST].sha256,
            artifact=sha256_of(payload),
        ),
        metrics={"validation": {"rows": len(targets), "confidence": _CONFIDENCE, "metrics": as_json(scored)}},
        parity=msgspec.to_builtins(proofs[name]),
    )


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
