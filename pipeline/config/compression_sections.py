"""How a trained network is made smaller: fewer channels, another network that learns from it, fewer bits."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.model_sections import ModelConfig
from pipeline.config.section import Fraction, Positive, Section, listed

Importance = Literal["l1", "l2", "bn_scale", "taylor", "random"]


class PruneConfig(Section):
    """A smaller network: the trained one without its least important channels, trained on."""

    method: Literal["structured", "unstructured", "two_of_four"] = Field(
        "structured",
        description="structured removes whole channels; the others zero single weights, which makes nothing faster here",
    )
    amount: Fraction = Field(0.5, description="share of channels, or of weights, that goes")
    importance: Importance = Field(
        "l2", description="what makes a channel, or with the other methods a weight, important; those know l1, l2 and random"
    )
    scope: Literal["global", "layer"] = Field("global", description="rank all layers together, or each alone")
    round_to: Positive = Field(16, description="kept widths are multiples of it, where layers are wide enough; 1: any width")
    whole: list[str] = Field(
        [],
        description="structured: layers, or modules of layers, that keep all channels, such as the first; "
        "prune.json names all layers",
    )
    steps: Positive = Field(1, description="prune a little and train on, so many times")
    epochs: int = Field(40, ge=0, description="at most, of the training after each step")
    lr: float = Field(1e-3, gt=0, description="learning rate of that training at its start")
    teacher_weight: float = Field(
        0.9, ge=0, le=1, description="share of the whole model's answers in the loss of that training, as in distill; 0: none"
    )

    @model_validator(mode="after")
    def _settings_have_a_meaning(self) -> "PruneConfig":
        if self.method == "structured":
            return self
        if self.whole:
            raise ValueError(f"whole: names layers that keep their channels, and method={self.method} takes none; leave it out")
        allowed = ("l1", "l2") if self.method == "two_of_four" else ("l1", "l2", "random")  # of one weight l2 orders as l1 does
        if self.importance not in allowed:
            raise ValueError(
                f"importance: {self.importance} is of channels, and method={self.method} zeros single weights; choose among "
                f"{', '.join(allowed)}"
            )
        if self.method == "two_of_four" and (self.amount != 0.5 or self.steps != 1):
            raise ValueError(
                f"amount: {self.amount:g} in {self.steps} steps, but two_of_four zeros half of the weights at once; leave "
                "prune.amount=0.5 and prune.steps=1"
            )
        return self


class DistillConfig(Section):
    """Another, smaller network that learns from the trained one (Hinton et al. 2015)."""

    teacher: str | None = Field(None, description="id of the run whose model teaches; null: this run's")
    student: ModelConfig | None = Field(
        None, description="the network that learns, as in model; null: the kind of the model with half its widths"
    )
    temperature: float = Field(4.0, gt=0, description="softens the teacher's probabilities")
    weight: float = Field(0.7, ge=0, le=1, description="share of the teacher in the loss; the rest is of the rows' own targets")
    feature_weight: float = Field(
        0.0, ge=0, description="weight of how alike rows are in the last hidden features (Tung and Mori 2019); 0: off"
    )
    baseline: bool = Field(True, description="train the same student without the teacher, to tell what the teacher gave")
    epochs: Positive | None = Field(None, description="at most; null: as train.epochs")
    lr: float | None = Field(None, gt=0, description="learning rate at the start; null: as train.lr")


class QuantizeConfig(Section):
    """Weights and activations as integers of 8 bits, calibrated on train rows."""

    formats: tuple[Literal["onnx", "torchscript"], ...] = listed(("onnx", "torchscript"), "onnx, torchscript")
    methods: tuple[Literal["static", "dynamic"], ...] = listed(
        ("static", "dynamic"), "static: activations too, calibrated; dynamic: linear layers alone, scaled for each request"
    )
    calibration: tuple[Literal["minmax", "entropy", "percentile"], ...] = listed(
        ("minmax", "entropy", "percentile"), "ways to find ranges of activations; validation chooses among them"
    )
    calibration_rows: Positive = Field(512, description="train rows that ranges are found on")
    max_drop: float = Field(
        0.01, ge=0, description="what the headline metric may lose; above it, the most sensitive nodes stay float, then QAT"
    )
    max_float_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="share of nodes that may stay float; beyond, the artifact is rejected"
    )
    qat_epochs: int = Field(
        10, ge=0, description="epochs of quantization-aware training where all else misses max_drop; 0: never"
    )
    qat_lr: float = Field(1e-4, gt=0, description="learning rate of that training")

    @model_validator(mode="after")
    def _each_is_named_once(self) -> "QuantizeConfig":
        for key, what in (("formats", "format"), ("methods", "method"), ("calibration", "calibration")):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"{key}: {list(names)} names a {what} twice")
        if self.methods == ("dynamic",) and self.formats == ("torchscript",):
            raise ValueError("methods: dynamic is for onnx alone; add onnx to quantize.formats, or static to quantize.methods")
        return self
