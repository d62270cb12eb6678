"""The pipeline as a table: what each stage takes, makes and may read. `pipeline.runner` does the rest.

raw ─prepare─▶ Prepared ─train─▶ Model ─┬─ evaluate ─▶ Evaluation
                                        ├─ prune ────▶ Pruned ────┐
                                        ├─ distill ──▶ Distilled ─┤
                                        └─────────────────────────┴─ export ─▶ Exported ─┬─ quantize ─▶ Quantized ─┐
                                                                         serve ◀─────────┤                         │
                                                          serve ◀─ select ◀─ benchmark ◀─┴─────────────────────────┘
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pipeline.artifacts import (
    Artifact,
    Benchmarked,
    Distilled,
    Evaluation,
    Exported,
    Model,
    Prepared,
    Pruned,
    Quantized,
    Selected,
)
from pipeline.config import Config


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

    `takes`: all that it may take; it gets None for what a config has no use for (`has_use`). `sections`: the config keys that
    its result depends on; it sees no others. `code`: the sources that its result depends on, relative to the repository; when
    one of them changes, the result is made anew.
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


def has_use(kind: type[Artifact], config: Config) -> bool:
    """Return whether a config has a use for this kind of artifact: a variant, a precision, a bundle."""
    uses: dict[type[Artifact], bool] = {
        Pruned: "prune" in config.export.variants,
        Distilled: "distill" in config.export.variants,
        Quantized: "int8" in config.benchmark.precisions,
        Selected: config.serve.bundle == "select",
    }
    return uses.get(kind, True)


_MODELS = ("pipeline/models", "pipeline/training/weights.py", "serving/schema.py")

_TRAINING = ("name", "seed", "model", "train", "augment", "monitor")

_TRAINED = ("pipeline/training", "pipeline/metrics", "pipeline/data/augmentation.py", *_MODELS)
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
        sections=(*_TRAINING, "data", "prepare"),  # data: for folds
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
        "prune",
        "take the least important channels out of the model, and train it on",
        takes=(Prepared, Model),
        makes=Pruned,
        sections=(*_TRAINING, "prune"),
        code=("pipeline/stages/prune.py", "pipeline/compression", *_TRAINED),
    ),
    Stage(
        "distill",
        "train a smaller model on what the model answers",
        takes=(Prepared, Model),
        makes=Distilled,
        sections=(*_TRAINING, "distill"),
        code=("pipeline/stages/distill.py", "pipeline/compression", *_TRAINED),
    ),
    Stage(
        "export",
        "write ONNX and TorchScript, prove that they answer like the model, make the bundle",
        takes=(Prepared, Model, Pruned, Distilled),
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
    Stage(
        "quantize",
        "compute with integers of 8 bits, within what the metric may lose",
        takes=(Prepared, Model, Pruned, Distilled, Exported),
        makes=Quantized,
        sections=(*_TRAINING, "export", "quantize"),
        code=(
            "pipeline/stages/quantize.py",
            "pipeline/quantization",
            "pipeline/exporting",
            "pipeline/training",
            "pipeline/metrics",
            "serving",
            *_MODELS,
        ),
    ),
    Stage(
        "benchmark",
        "measure every artifact side by side: quality, latency, throughput, bytes, memory",
        takes=(Prepared, Model, Exported, Quantized),
        makes=Benchmarked,
        sections=("seed", "benchmark"),
        code=(
            "pipeline/stages/benchmark.py",
            "pipeline/measuring",
            "pipeline/metrics",
            "pipeline/reporting",
            "serving",
            *_MODELS,
        ),
    ),
    Stage(
        "select",
        "choose the artifact that fits the budget, say why, make its bundle",
        takes=(Prepared, Model, Exported, Quantized, Benchmarked),
        makes=Selected,
        sections=("name", "seed", "export", "evaluate", "select"),
        code=(
            "pipeline/stages/select.py",
            "pipeline/reporting/test_reads.py",
            "pipeline/measuring",
            "pipeline/exporting",
            "pipeline/metrics",
            "serving",
            *_MODELS,
        ),
    ),
    Stage("serve", "serve the bundle over HTTP", takes=(Exported, Selected), makes=None, sections=("serve",)),
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
