"""Which trained model teaches."""

from pathlib import Path

from pipeline.artifacts import Model, Prepared
from pipeline.errors import UserError
from pipeline.manifest import MANIFEST
from pipeline.runs import all_runs

_SHOWN = 5  # runs named in a message


def training_of(run: str, root: Path) -> Path:
    """Return the folder of a run's complete training below `root`; raise UserError where there is none."""
    known = [one.id for one in all_runs(root)]
    if run not in known:
        raise UserError(f"distill.teacher: {run!r}: there is no such run below {root}/{_newest(known)}")
    folder = root / run / Model.variant
    if not (folder / MANIFEST).is_file():
        raise UserError(f"distill.teacher: {run!r}: this run has no complete training; train it, or name another run")
    return folder


def teacher_of(run: str | None, prepared: Prepared, model: Model) -> Model:
    """Return the model of a run, or `model`, which is of the run at hand, for None.

    Raises UserError for a run that does not exist or is not trained, and for one that was trained on other rows than
    `prepared`: its answers to validation rows might be learned by heart, and its inputs might be normalized otherwise.
    """
    if run is None:
        return model
    teacher = Model.open(training_of(run, model.folder.parent.parent))
    learned_from = teacher.manifest.takes.get(Prepared.kind, "")
    if learned_from != prepared.digest:
        raise UserError(
            f"distill.teacher: {run!r}: it was trained on data {learned_from[:12]}, and the student gets "
            f"{prepared.digest[:12]}; teacher and student need the very same rows: take a run with the same data and prepare"
        )
    return teacher


def _newest(known: list[str]) -> str:
    return f"; the newest are {', '.join(known[:_SHOWN])}" if known else ", nor any other; train the teacher first"
