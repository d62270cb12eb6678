"""export: Prepared + Model -> Exported."""

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
from pipeline.manifest import now
from pipeline.metrics.intervals import as_json
from pipeline.metrics.score import score
from pipeline.models.deployable import Deployable
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.deployed import answers, deployable_of
from serving.bundle import GOLDEN, REFERENCE, Artifact, Golden, Lineage, write_bundle
from serving.errors import first_line
from serving.files import sha256_of, write_atomic
from serving.predictor import Predictor
from serving.schema import Array, Schema

_PRECISION = "fp32"
_CONFIDENCE, _RESAMPLES = 0.95, 1000  # of the validation metrics in the bundle


def run(config: Config, prepared: Prepared, model: Model, *, out: Path, tracker: Tracker) -> Outcome:
    """Write each format, prove it on the whole validation split, and make the bundle of the one that is served."""
    section, schema = config.export, prepared.schema
    deployable = deployable_of(prepared, model)
    inputs, _ = prepared.split("validation")
    expected = answers(deployable, inputs)

    proofs: dict[str, Parity] = {}
    for form in section.formats:
        name = file_name(model, form)
        tracker.event("working_on", what=f"{form}: writing and proving on {len(inputs)} validation rows")
        payload = export(deployable, torch.from_numpy(inputs[:2]), form)
        write_atomic(out / name, payload)
        proofs[name] = _prove(config, payload, form, schema, inputs, expected)
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


def _prove(config: Config, payload: bytes, form: Format, schema: Schema, inputs: Array, expected: Array) -> Parity:
    section = config.export
    try:
        predictor = Predictor(payload, schema=schema, runtime=RUNTIME[form])
        return compare(
            predictor.predict, inputs, expected, batch_sizes=section.batch_sizes, atol=section.atol, rtol=section.rtol
        )
    except Exception as error:  # a runtime raises what it likes on a file that it cannot run
        raise GateRefused(f"export: {form}: the file fails on validation rows: {first_line(error)}") from error


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
    rows = golden_rows(targets, section.golden_rows, classes=len(schema.classes))
    golden = Golden(inputs[rows].tolist(), answers(deployable, inputs[rows]).tolist(), section.atol, section.rtol)
    write_bundle(
        out / "bundle",
        {
            name: payload,
            GOLDEN: msgspec.json.encode(golden),
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


def golden_rows(targets: NDArray[Any], count: int, *, classes: int) -> NDArray[np.int64]:
    """Return up to `count` row numbers, taking turns over the classes, or spread over a regression target's range."""
    if not classes:
        order = np.argsort(targets, kind="stable")
        return np.unique(order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)])
    turn = np.zeros(len(targets), dtype=np.int64)  # how many rows of the same class stand before each row
    for index in range(classes):
        members = np.flatnonzero(targets == index)
        turn[members] = np.arange(len(members))
    return np.sort(np.argsort(turn, kind="stable")[:count])
