"""export: Prepared + each Model -> Exported."""

from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline.artifacts import Distilled, Exported, Listed, Model, Precision, Prepared, Pruned
from pipeline.config import Config
from pipeline.config.choice_sections import Format, Variant
from pipeline.errors import GateRefused
from pipeline.exporting.bundling import bundle_artifact, tolerance_for
from pipeline.exporting.formats import RUNTIME, SUFFIX
from pipeline.exporting.metadata import checkpoint_of, metadata_of
from pipeline.exporting.parity import Parity, refusal
from pipeline.exporting.proving import Proof, prove
from pipeline.exporting.reproducing import SCRIPT, reproduction
from pipeline.exporting.requests import prove_requests
from pipeline.metrics.intervals import as_json
from pipeline.metrics.score import score
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.deployed import answers, deployable_of
from serving.files import write_atomic
from serving.predictor import Predictor
from serving.schema import Array

_PRECISION: Precision = "fp32"
_CONFIDENCE, _RESAMPLES = 0.95, 1000  # of the validation metrics in the bundle


def run(
    config: Config,
    prepared: Prepared,
    model: Model,
    pruned: Pruned | None = None,
    distilled: Distilled | None = None,
    *,
    out: Path,
    tracker: Tracker,
) -> Outcome:
    """Write each format of each model, prove it on the whole validation split, and make the bundle of the served one."""
    section = config.export
    inputs, _ = prepared.split("validation")
    prove_requests(prepared, inputs)
    found: dict[str, tuple[Listed, Parity]] = {}
    for variant in (model, pruned, distilled):
        if variant is not None:
            found |= _write(config, prepared, variant, inputs, out, tracker)
    proofs = {name: parity for name, (_, parity) in found.items()}
    listed = [one for one, _ in found.values()]
    _write_json(out / Exported.PARITY, proofs)
    _write_json(out / Exported.LISTING, listed)
    refusals = [refusal(name, proof) for name, proof in proofs.items() if not proof.passed]
    if refusals:
        raise GateRefused(*refusals)

    tolerance = tolerance_for(config, prepared)
    write_atomic(out / SCRIPT, reproduction(model, config.section("export"), list(proofs), tolerance))
    served = next(one for one in listed if one.format == section.bundle and one.variant == model.variant)
    _bundle(config, prepared, model, served, out)
    largest = max(proof.max_abs_diff for proof in proofs.values())
    formats = " and ".join(section.formats)
    of = "" if len(section.variants) == 1 else f" of {', '.join(dict.fromkeys(one.variant for one in listed))}"
    summary = f"{formats}{of}: same answers as the model on {len(inputs)} validation rows (largest difference {largest:.2g})"
    return Outcome(summary, metrics={"export/max_abs_diff": largest})


def _write(
    config: Config, prepared: Prepared, model: Model, inputs: Array, out: Path, tracker: Tracker
) -> dict[str, tuple[Listed, Parity]]:
    """Write each format of one model; return, by file name, how it is listed and what was proven."""
    section, checkpoint = config.export, checkpoint_of(model)
    deployable = deployable_of(prepared, model)
    proof = Proof(
        schema=prepared.schema,
        inputs=inputs,
        expected=answers(deployable, inputs),
        batch_sizes=section.batch_sizes,
        tolerance=tolerance_for(config, prepared),
    )
    found = {}
    for form in section.formats:
        name = file_name(model.variant, form)
        tracker.event("working_on", what=f"{name}: writing and proving on {len(inputs)} validation rows")
        proven = prove(deployable, form, proof, metadata=metadata_of(prepared, checkpoint, precision=_PRECISION))
        write_atomic(out / name, proven.payload)
        one = Listed(
            file=name,
            variant=model.variant,
            format=form,
            precision=_PRECISION,
            checkpoint=checkpoint,
            parity=msgspec.to_builtins(proven.parity),
            how={"by": proven.way},
        )
        found[name] = one, proven.parity
        told = {"max_abs_diff": proven.parity.max_abs_diff, "bytes": len(proven.payload)}
        tracker.metrics({f"export/{name}/{key}": value for key, value in told.items()})
    return found


def _bundle(config: Config, prepared: Prepared, model: Model, served: Listed, out: Path) -> None:
    payload, schema = (out / served.file).read_bytes(), prepared.schema
    inputs, targets = prepared.split("validation")
    predictor = Predictor(payload, schema=schema, runtime=RUNTIME[served.format])
    scored = score(predictor.predict(inputs), targets, schema, confidence=_CONFIDENCE, resamples=_RESAMPLES, seed=config.seed)
    bundle_artifact(
        config,
        prepared,
        served,
        payload,
        folder=out / "bundle",
        run=model.folder.parent.name,
        answer=partial(answers, deployable_of(prepared, model)),
        metrics={"validation": {"rows": len(targets), "confidence": _CONFIDENCE, "metrics": as_json(scored)}},
    )


def _write_json(path: Path, content: Any) -> None:
    write_atomic(path, msgspec.json.format(msgspec.json.encode(content), indent=2))


def file_name(variant: Variant, form: Format) -> str:
    """Return `<variant>-<precision>.<suffix>`; the variant is the stage that made the model."""
    return f"{variant}-{_PRECISION}.{SUFFIX[form]}"
