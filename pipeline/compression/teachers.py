"""Which trained model teaches, and the network that it is."""

from torch import nn

from pipeline.artifacts import Model, Prepared
from pipeline.errors import UserError
from pipeline.manifest import MANIFEST
from pipeline.runs import all_runs
from pipeline.training.weights import load

_SHOWN = 5  # runs named in a message


def teacher_of(run: str | None, prepared: Prepared, model: Model) -> Model:
    """Return the model of a run, or `model`, which is of the run at hand, for None.

    Raises UserError for a run that does not exist or is not trained, and for one that was trained on other rows than
    `prepared`: its answers to validation rows might be learned by heart, and its inputs might be normalized otherwise.
    """
    if run is None:
        return model
    root = model.folder.parent.parent
    known = [one.id for one in all_runs(root)]
    if run not in known:
        raise UserError(f"distill.teacher: {run!r}: there is no such run below {root}/; the newest are {_some(known)}")
    folder = root / run / model.folder.name
    if not (folder / MANIFEST).is_file():
        raise UserError(f"distill.teacher: {run!r}: this run has no complete training; train it, or name another run")
    teacher = Model.open(folder)
    learned_from = teacher.manifest.takes.get(Prepared.kind, "")
    if learned_from != prepared.digest:
        raise UserError(
            f"distill.teacher: {run!r}: it was trained on data {learned_from[:12]}, and the student gets "
            f"{prepared.digest[:12]}; teacher and student need the very same rows: take a run with the same data and prepare"
        )
    return teacher


def network_of(model: Model) -> nn.Module:
    """Return the network of a model's best epoch, in eval mode, without gradients, on the CPU; its bytes are verified."""
    source = model.read(Model.SOURCE) if Model.SOURCE in model.manifest.makes else None
    return load(model.read(Model.BEST), source=source).requires_grad_(requires_grad=False)


def _some(known: list[str]) -> str:
    return ", ".join(known[:_SHOWN]) or "none"
