"""What is made of a model: weights, measurements, files to load, the bundle to serve."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from pipeline.artifacts.artifact import Artifact
from pipeline.config.choice_sections import Format, Variant
from serving.bundle import Bundle

Precision = Literal["fp32", "int8"]


class Model(Artifact):
    """A trained network: weights and architecture of the best epoch, the last state, and the history."""

    kind = "model"
    variant: ClassVar[Variant] = "train"
    BEST, LAST, HISTORY, SOURCE = "best.pt", "last.pt", "history.jsonl", "custom_model.py"

    def source(self) -> bytes | None:
        """Return the verified file of a custom model; None of one that we know by its name."""
        return self.read(self.SOURCE) if self.SOURCE in self.manifest.makes else None


class Pruned(Model):
    """A Model with fewer channels, or with zeros."""

    kind = "pruned"
    variant = "prune"


class Distilled(Model):
    """A Model that learned from another one."""

    kind = "distilled"
    variant = "distill"


class Evaluation(Artifact):
    """Metrics with intervals and figures for one model on one split."""

    kind = "evaluation"
    METRICS = "metrics.json"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a Predictor loads.

    variant: the stage that made its model. precision: fp32 or int8. checkpoint: sha256 of the model's weights. parity: what was
    proven when it was made. how: what is special about it, such as the ways of quantization.
    """

    file: str
    variant: Variant
    format: Format
    precision: Precision
    checkpoint: str
    parity: dict[str, Any]
    how: dict[str, Any] = {}


class HasBundle(Artifact):
    """A folder with a bundle in it."""

    @property
    def bundle(self) -> Path:
        """The deployable folder."""
        return self.folder / "bundle"

    def open_bundle(self) -> Bundle:
        """Open the bundle, verified."""
        return Bundle(self.bundle)


class Files(Artifact):
    """Artifacts that a Predictor loads, each listed with what is known of it."""

    LISTING = "artifacts.json"

    @property
    def listed(self) -> list[Listed]:
        """The files, in the order that they were made in."""
        return msgspec.json.decode(self.read(self.LISTING), type=list[Listed])


class Exported(Files, HasBundle):
    """Proven artifacts of each model, and the bundle to serve."""

    kind = "exported"
    PARITY = "parity.json"


class Quantized(Files):
    """Artifacts that compute with integers of 8 bits."""

    kind = "quantized"
    QUANTIZATION = "quantization.json"


class Benchmarked(Artifact):
    """Speed, size and quality of every artifact, measured side by side."""

    kind = "benchmarked"
    BENCHMARK = "benchmark.json"


class Selected(HasBundle):
    """The decision, and the bundle of the winner."""

    kind = "selected"
    DECISION = "decision.json"
