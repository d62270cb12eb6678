"""Cross-validation: the same training on several splits, each scored on rows that nothing of it has seen.

Every row that is no test row is scored once. In each fold the categories, statistics and the best epoch come from the other
rows, which are split again into train and validation; the test split stays unread. (Stone 1974; on why the epoch must not be
chosen on the scored rows: Cawley and Talbot 2010.)
"""

import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from pipeline.artifacts import Model, Prepared
from pipeline.config import Config
from pipeline.data.prepare import Fold, prepare
from pipeline.errors import Interrupted, UserError
from pipeline.manifest import Manifest, now, records_of, write_manifest
from pipeline.metrics.score import score
from pipeline.tracking import Tracker
from pipeline.training.assembly import assemble
from pipeline.training.deployed import answers, joined
from pipeline.training.interrupt import Interrupt
from pipeline.training.retraining import retrain
from serving.files import write_atomic

FOLDS = "folds.jsonl"
_SCRATCH = "fold-"
_FEW = 100  # rows for each fold: with more, equal rows hardly make too few groups


def check_folds(config: Config, prepared: Prepared, *, out: Path) -> None:
    """Raise UserError for folds that cannot be made, before anything is trained; `out` has room to try the first one."""
    count = config.train.folds
    if count is None:
        return
    if config.prepare.split == "time":
        raise UserError(
            f"train.folds: {config.train.folds}: folds would train on rows that are later than those they are scored on, and "
            "prepare.split is time; set train.folds=null, or another prepare.split"
        )
    rows = sum(len(prepared.row_numbers(split)) for split in ("train", "validation"))
    if rows < count:
        raise UserError(f"train.folds: {count}: there are {rows:,} rows that are not test; set fewer folds")
    # Groups are known to the split alone, which takes a pass over the rows.
    if config.prepare.split == "grouped" or rows < _FEW * count:
        with TemporaryDirectory(dir=out, prefix=_SCRATCH) as scratch:
            _prepared(config, Path(scratch, "prepared"), Fold(0, count))


def cross_validate(
    config: Config, *, out: Path, source: bytes | None, choices: dict[str, Any], tracker: Tracker, interrupt: Interrupt
) -> list[dict[str, Any]]:
    """Train and score each fold; return a line for each, as in `folds.jsonl`, which a resumed training goes on with.

    source: text of a custom model's file. choices: what `auto` chose for the training that folds stand beside.
    """
    count = config.train.folds
    assert count is not None
    lines = _done(out / FOLDS)
    for left in out.glob(f"{_SCRATCH}*/"):  # of a training that was killed: it would become part of the model
        shutil.rmtree(left)
    for number in range(len(lines), count):
        tracker.event("working_on", what=f"fold {number + 1} of {count}")
        with TemporaryDirectory(dir=out, prefix=_SCRATCH) as scratch:
            prepared = _prepared(config, Path(scratch, "prepared"), Fold(number, count))
            try:
                found = _trained(config, prepared, Path(scratch), source, choices, interrupt)
            except Interrupted as error:  # its words are of a training that can go on in the middle
                raise Interrupted(
                    f"train: stopped by {interrupt.signal} in fold {number + 1} of {count}; finished folds are kept; "
                    f"go on with: python -m pipeline train --resume --run {out.parent.name}"
                ) from error
            lines.append({"fold": number + 1, **found})
        tracker.metrics({f"fold/{name}": value for name, value in lines[-1].items() if name != "fold"}, step=number + 1)
        write_atomic(out / FOLDS, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return lines


def summarized(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean of each metric over folds, and `<metric>.std`, the sample deviation between folds."""
    names = [name for name in lines[0] if name not in {"fold", "rows", "epochs", "best_epoch"}]
    summary = {}
    for name in names:
        values = np.array([line[name] for line in lines if line[name] is not None], dtype=np.float64)
        summary[name] = float(values.mean()) if values.size else math.nan
        summary[f"{name}.std"] = float(values.std(ddof=1)) if values.size > 1 else math.nan
    return summary


def _prepared(config: Config, folder: Path, fold: Fold) -> Prepared:
    """Split, measure and encode the rows of a fold, as `prepare` does for the whole."""
    folder.mkdir()
    summary = prepare(config.data, config.prepare, out=folder, tracker=Tracker("train"), fold=fold)
    manifest = Manifest(
        stage="prepare",
        takes={},
        makes=records_of(folder),
        config={},
        code="",
        seed=config.seed,
        device="cpu",
        versions={},
        git={},
        created=now(),
        seconds=0.0,
        metrics={},
        notes={"rows": summary.counts},
    )
    write_manifest(folder, manifest)
    return Prepared.open(folder)


def _trained(
    config: Config, prepared: Prepared, out: Path, source: bytes | None, choices: dict[str, Any], interrupt: Interrupt
) -> dict[str, Any]:
    """Train on a fold and return its metrics on the rows that it left out."""
    parts = assemble(config, prepared, source=source, choices=choices)
    found = retrain(config, parts, out=out, source=source, tracker=Tracker("train"), interrupt=interrupt)
    deployable = joined(prepared, (out / Model.BEST).read_bytes(), source=source)
    inputs, targets = prepared.split("test")
    scored = score(answers(deployable, inputs), targets, parts.schema, confidence=0.95, resamples=1, seed=0)  # no interval
    epochs = {"rows": len(targets), "epochs": len(found.history), "best_epoch": found.best_epoch}
    return {**epochs, **{name: one.value if math.isfinite(one.value) else None for name, one in scored.items()}}


def _done(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
