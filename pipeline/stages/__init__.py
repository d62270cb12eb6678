"""The pipeline as a table: what each stage takes, makes and may read. `pipeline.runner` does the rest.

raw ─prepare─▶ Prepared ─train─▶ Model ─┬─ evaluate ─▶ Evaluation
                                        └─ export ───▶ Exported ─ serve
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pipeline.artifacts import Artifact, Evaluation, Exported, Model, Prepared


@dataclass(frozen=True)
class Outcome:
    """What a stage has to say beside its files: one line for people, and numbers for the manifest."""

    summary: str
    metrics: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resume:
    """A wish to go on with what an interrupted attempt left; `force` accepts that config, data or code changed since."""

    force: bool = False


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    `sections`: the config keys that its result depends on; it sees no others. `code`: the sources that its result depends on,
    relative to the repository; when one of them changes, the result is made anew.
    """

    name: str
    summary: str
    takes: tuple[type[Artifact], ...]
    makes: type[Artifact] | None
    sections: tuple[str, ...]
    code: tuple[str, ...] = ()

    @property
    def run(self) -> Callable[..., Outcome]:
        """The stage's function, imported when it is needed: torch takes longer than `--help` may."""
        function: Callable[..., Outcome] = import_module(f"pipeline.stages.{self.name}").run
        return function


_MODELS = ("pipeline/models", "pipeline/training/weights.py", "serving/schema.py")

_ROWS = ("serving/schema.py", "serving/columns.py", "serving/images.py")

STAGES = (
    Stage(
        "prepare",
        "check rows, split them without leaks, fit normalization on train rows, report",
        takes=(),
        makes=Prepared,
        sections=("data", "prepare"),
        code=("pipeline/stages/prepare.py", "pipeline/data", *_ROWS),  # a change of the report page makes no rows anew
    ),
    Stage(
        "train",
        "train with early stopping; keep the best and the last checkpoint",
        takes=(Prepared,),
        makes=Model,
        sections=("name", "seed", "data", "prepare", "model", "train", "augment", "monitor"),  # data: for folds
        code=(
            "pipeline/stages/train.py",
            "pipeline/training",
            "pipeline/monitoring",
            "pipeline/metrics",
            "pipeline/reporting",
            "pipeline/data/augmentation.py",
            "serving/predictor.py",
            *_MODELS,
        ),
    ),
    Stage(
        "evaluate",
        "measure the model with intervals, for each class, with pictures",
        takes=(Prepared, Model),
        makes=Evaluation,
        sections=("seed", "evaluate"),
        code=(
            "pipeline/stages/evaluate.py",
            "pipeline/reporting",
            "pipeline/metrics",
            "pipeline/training/deployed.py",
            "serving/predictor.py",
            *_MODELS,
        ),
    ),
    Stage(
        "export",
        "write ONNX and TorchScript, prove that they answer like the model, make the bundle",
        takes=(Prepared, Model),
        makes=Exported,
        sections=("name", "seed", "export"),
        code=(
            "pipeline/stages/export.py",
            "pipeline/exporting",
            "pipeline/metrics",
            "pipeline/training/deployed.py",
            "serving",
            *_MODELS,
        ),
    ),
    Stage("serve", "serve the bundle over HTTP", takes=(Exported,), makes=None, sections=("serve",)),
)


def stage_named(name: str) -> Stage:
    """Return the stage of this name."""
    return next(stage for stage in STAGES if stage.name == name)


def stage_making(kind: type[Artifact]) -> Stage:
    """Return the stage that makes this kind of artifact."""
    return next(stage for stage in STAGES if stage.makes is kind)


def chain(stage: Stage) -> tuple[Stage, ...]:
    """Return the stages that a stage needs, in order, and itself."""
    needed = {stage.name}
    for kind in stage.takes:
        needed |= {before.name for before in chain(stage_making(kind))}
    return tuple(candidate for candidate in STAGES if candidate.name in needed)
