"""From rows to the chosen artifact on one fold: the pipeline's own stages, one after the other, in an empty folder.

    python -m benchmarks.artifacts.recipe FOLDER CONFIG FOLD OF [KEY=VALUE …]

`python -m pipeline select` splits rows at random, so the splits of several seeds share rows. Here a fold's rows are made by
what makes them for `train.folds`: its test rows are in no other fold, and no stage reads them but `select`, which scores the
winner on them once it is chosen. FOLD counts from 0. Exit codes are the pipeline's.
"""

import os
import sys
from collections.abc import Mapping
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
    try:
        make_all(load(Path(path), words), Fold(int(number), int(of)))
    except SlipwayError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return error.exit_code
    return 0


def make_all(config: Config, fold: Fold) -> None:
    """Run prepare, train, prune, export, quantize, benchmark and select, each on what those before it made."""
    made: dict[type[Artifact], Artifact] = {}
    for kind, stage in used_stages(config, Selected).items():
        made[kind] = make(config, stage, made, out=ROWS if kind is Prepared else RUN / stage.name, fold=fold)


def used_stages(config: Config, last: type[Artifact]) -> dict[type[Artifact], Stage]:
    """Return what has a use for a config up to `last`, in order, with the stage that makes it."""
    stages = {stage.makes: stage for stage in chain(stage_making(last)) if stage.makes is not None}
    return {kind: stage for kind, stage in stages.items() if kind is last or has_use(kind, config)}


def make(config: Config, stage: Stage, made: Mapping[type[Artifact], Artifact], *, out: Path, fold: Fold) -> Artifact:
    """Run a stage on what was made before it, and return what it wrote into `out`, a new folder."""
    assert stage.makes is not None
    out.mkdir(parents=True)
    inputs = [made.get(kind) for kind in stage.takes]
    if stage.makes is Prepared:
        summary = prepare(config.data, config.prepare, out=out, tracker=Tracker(stage.name), fold=fold)
        outcome = Outcome("", notes={"rows": summary.counts})
    else:
        outcome = stage.run(Scoped(config, stage), *inputs, out=out, tracker=Tracker(stage.name))
    _finish(config, stage, out, {one.kind: one.digest for one in inputs if one is not None}, outcome)
    return stage.makes.open(out)


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
