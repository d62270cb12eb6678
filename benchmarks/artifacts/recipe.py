"""From rows to the chosen artifact on one fold: the pipeline's own stages, one after the other, in an empty folder.

    python -m benchmarks.artifacts.recipe FOLDER CONFIG FOLD OF [KEY=VALUE …]

`python -m pipeline select` splits rows at random, so the splits of several seeds share rows. Here a fold's rows are made by
what makes them for `train.folds`: its test rows are in no other fold, and no stage reads them but `select`, which scores the
winner on them once it is chosen. FOLD counts from 0; OF 1: the split that `prepare` makes. Exit codes are the pipeline's.
"""

import os
import sys
from pathlib import Path

from pipeline.artifacts import Artifact, Prepared, Selected
from pipeline.config import Config, load
from pipeline.data.prepare import Fold, prepare
from pipeline.errors import SlipwayError
from pipeline.manifest import Manifest, now, records_of, versions, write_manifest
from pipeline.runner import Scoped
from pipeline.stages import Outcome, Stage, chain, has_use, stage_making
from pipeline.tracking import Tracker

ROWS, RUN = Path("data", "prepared", "rows"), Path("runs", "fold")  # below the folder of a fold


def main() -> int:
    """Make everything up to the decision; what was refused, and why, goes to standard error."""
    folder, path, number, of, *words = sys.argv[1:]
    os.chdir(folder)
    fold = Fold(int(number), int(of)) if int(of) > 1 else None
    try:
        make_all(load(Path(path), words), fold)
    except SlipwayError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return error.exit_code
    return 0


def make_all(config: Config, fold: Fold | None) -> None:
    """Run prepare, train, prune, export, quantize, benchmark and select, each on what those before it made."""
    made: dict[type[Artifact], Artifact] = {}
    for stage in chain(stage_making(Selected)):
        if stage.makes is not None and (stage.makes is Selected or has_use(stage.makes, config)):
            made[stage.makes] = _prepared(config, stage, fold) if stage.makes is Prepared else _made(config, stage, made)


def _prepared(config: Config, stage: Stage, fold: Fold | None) -> Prepared:
    ROWS.mkdir(parents=True)
    summary = prepare(config.data, config.prepare, out=ROWS, tracker=Tracker(stage.name), fold=fold)
    _finish(config, stage, ROWS, {}, Outcome("", notes={"rows": summary.counts}))
    return Prepared.open(ROWS)


def _made(config: Config, stage: Stage, made: dict[type[Artifact], Artifact]) -> Artifact:
    assert stage.makes is not None
    inputs = [made.get(kind) for kind in stage.takes]
    folder = RUN / stage.name
    folder.mkdir(parents=True)
    outcome = stage.run(Scoped(config, stage), *inputs, out=folder, tracker=Tracker(stage.name))
    _finish(config, stage, folder, {one.kind: one.digest for one in inputs if one is not None}, outcome)
    return stage.makes.open(folder)


def _finish(config: Config, stage: Stage, folder: Path, takes: dict[str, str], outcome: Outcome) -> None:
    manifest = Manifest(
        stage=stage.name,
        takes=takes,
        makes=records_of(folder),
        config={name: config.section(name) for name in stage.sections},
        code="",
        seed=config.seed,
        device=outcome.device,
        versions=versions(),
        git={},
        created=now(),
        seconds=0.0,
        metrics={},
        notes=outcome.notes,
    )
    write_manifest(folder, manifest)


if __name__ == "__main__":
    sys.exit(main())
