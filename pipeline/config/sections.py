"""Every key, its default, its range and one sentence: the source of `configs/base.yaml`, of `--schema` and of all checks.

Stages have verbs for names and a section each; what they work on (`data`, `model`) are nouns.
"""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
_LARGEST_SEED = 2**32 - 1  # what NumPy takes


class Section(BaseModel):
    """A group of keys: frozen, strict about types (1 is a float, "1" is not), unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


def _list(default: tuple[Any, ...], description: str) -> Any:
    # YAML has lists where a frozen section has tuples.
    return Field(default, strict=False, min_length=1, description=description)


class DataConfig(Section):
    """Where rows come from."""

    source: Literal["digits", "breast_cancer", "wine", "iris", "diabetes"] = Field(
        "digits", description="a data set that ships inside scikit-learn"
    )


class PrepareConfig(Section):
    """How rows are split and normalized."""

    validation_fraction: Fraction = Field(0.15, description="share of all rows that chooses the epoch and proves the export")
    test_fraction: Fraction = Field(0.2, description="share of all rows that only `evaluate` reads")
    split_seed: int = Field(
        0,
        ge=0,
        le=_LARGEST_SEED,
        description="seed of the split, apart from `seed`, so that runs with other seeds compare on the same rows",
    )
    normalize: Literal["standard", "minmax", "none"] = Field(
        "standard", description="fitted on train rows alone; for each column of a table, for each channel of an image"
    )
    normalize_target: Literal["standard", "none"] = Field(
        "standard", description="regression only; undone inside the model, so answers keep the target's unit"
    )

    @model_validator(mode="after")
    def _leaves_train_rows(self) -> "PrepareConfig":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction add up to 1 or more, which leaves no row to train on")
        return self


class MlpConfig(Section):
    """Fully connected layers, for tables and small images."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[Positive, ...] = _list((64, 32), "width of each hidden layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units zeroed in training")


class CnnConfig(Section):
    """Convolutions with batch normalization, for images."""

    name: Literal["cnn"] = "cnn"
    channels: tuple[Positive, ...] = _list(
        (32, 64), "channels of each block of two convolutions; each but the last halves the image"
    )
    hidden: Positive = Field(128, description="width of the layer before the output")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of hidden units zeroed in training")


class ResnetConfig(Section):
    """Residual blocks, for images."""

    name: Literal["resnet"] = "resnet"
    channels: tuple[Positive, ...] = _list((32, 64), "channels of each group of blocks; each but the first halves the image")
    blocks: Positive = Field(1, description="residual blocks in each group")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of pooled features zeroed in training")


class CustomConfig(Section):
    """A class in your own file, called as Class(input_shape=…, outputs=…, **args)."""

    name: Literal["custom"] = "custom"
    file: str = Field(description="path of one Python file; it is copied into the run")
    class_name: str = Field(alias="class", description="name of a torch.nn.Module in that file")
    args: dict[str, Any] = Field(default_factory=dict, description="further arguments of the class")

    @field_validator("args")
    @classmethod
    def _args_are_json(cls, args: dict[str, Any]) -> dict[str, Any]:
        _check_json(args, "args")
        return args


def _check_json(value: Any, path: str) -> None:
    """Raise ValueError for a value that would not come back from JSON as it was: a NaN, a date."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_json(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]")
    elif not isinstance(value, str | int | float | bool | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(
            f"{path}: must be a finite number, a string, a boolean, null, or a list or mapping of those; it is {value!r}"
        )


ModelConfig = Annotated[MlpConfig | CnnConfig | ResnetConfig | CustomConfig, Field(discriminator="name")]


def model_names() -> list[str]:
    """Return every value that `model.name` may have."""
    return [kind.model_fields["name"].default for kind in get_args(get_args(ModelConfig)[0])]


class OptimizerConfig(Section):
    """How gradients change weights; the learning rate is `train.lr`."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = Field("adamw", description="the rule")
    weight_decay: float = Field(0.01, ge=0, description="decay of weight matrices; norms and biases are spared")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and rmsprop")


class ScheduleConfig(Section):
    """How the learning rate changes, once an epoch."""

    name: Literal["constant", "step", "cosine", "plateau"] = Field(
        "cosine", description="cosine falls to min_lr over train.epochs"
    )
    step_epochs: Positive = Field(10, description="step: epochs between two drops")
    factor: Fraction = Field(0.1, description="step and plateau: what the learning rate is multiplied by at a drop")
    plateau_patience: int = Field(
        5, ge=0, description="plateau: epochs without improvement of early_stopping.monitor before a drop"
    )
    min_lr: float = Field(0.0, ge=0, description="cosine and plateau: the lowest learning rate")


class EarlyStoppingConfig(Section):
    """Which epoch is best, and when to stop waiting for a better one."""

    monitor: str = Field("val/loss", description="a name in train/history.jsonl; losses and errors fall, scores rise")
    patience: Positive | None = Field(15, description="stop after so many epochs without improvement; null: never")
    min_delta: float = Field(0.0, ge=0, description="a smaller change is no improvement, in the monitor's unit")


class TrainConfig(Section):
    """One training run."""

    epochs: Positive = Field(60, description="at most; early stopping may end sooner")
    batch_size: Positive = Field(32, description="rows in a step")
    lr: float = Field(1e-3, gt=0, description="learning rate at the start")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="a step whose loss or gradient is NaN or infinite ends training, or is left out"
    )
    clip_norm: float | None = Field(None, gt=0, description="scale a step's gradient down to this global L2 norm; null: never")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: cuda, else mps, else cpu")
    threads: Positive | None = Field(
        1, description="CPU threads of torch; small nets are fastest on one; null: torch's own choice"
    )
    checkpoint_every_s: float = Field(10.0, ge=0, description="seconds between two writes of a checkpoint; 0: after every step")

    @model_validator(mode="after")
    def _falls(self) -> "TrainConfig":
        if self.schedule.min_lr > self.lr:
            raise ValueError(
                f"schedule.min_lr {self.schedule.min_lr:g} is above lr {self.lr:g}, so the learning rate could not fall to it"
            )
        return self


class EvaluateConfig(Section):
    """How good the model is, and how sure that is."""

    split: Literal["test", "validation"] = Field("test", description="the rows that are read")
    confidence: Fraction = Field(0.95, description="level of the intervals")
    resamples: Annotated[int, Field(ge=100)] = Field(1000, description="bootstrap resamples behind an interval")
    test_reads: Positive = Field(1, description="reads of a test split that are in order; more are reported, never hidden")


Format = Literal["onnx", "torchscript"]


class ExportConfig(Section):
    """Which files to make, and how close their answers must be to the model's."""

    formats: tuple[Format, ...] = _list(("onnx", "torchscript"), "onnx, torchscript")
    bundle: Format = Field("onnx", description="the format that is served")
    batch_sizes: tuple[Positive, ...] = _list((1, 7, 64), "batch sizes at which parity is proven on the whole validation split")
    atol: float = Field(1e-4, ge=0, description="an answer a passes against b when |a - b| <= atol + rtol * |b|")
    rtol: float = Field(1e-4, ge=0, description="see atol")
    golden_rows: Positive = Field(16, description="validation rows that the service replays before it reports ready")

    @model_validator(mode="after")
    def _bundle_is_made(self) -> "ExportConfig":
        if len(set(self.formats)) < len(self.formats):
            raise ValueError(f"formats: {list(self.formats)} names a format twice")
        if self.bundle not in self.formats:
            raise ValueError(f"bundle: {self.bundle!r} is not among formats {list(self.formats)}")
        return self


class ServeConfig(Section):
    """The service started by `make serve`; a container takes the same options on its command line."""

    host: str = Field("127.0.0.1", description="address to bind; 0.0.0.0: every one")
    port: int = Field(8080, ge=1, le=65535, description="port to bind")
    workers: int = Field(1, ge=1, le=256, description="processes")
    threads: int = Field(16, ge=1, le=1024, description="threads in each process")
    max_body_mb: int = Field(16, ge=1, le=4096, description="larger requests get 413, in MiB")


class Config(Section):
    """A whole run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9_-]{1,40}$", description="names runs and data; default: the file's name")
    seed: int = Field(0, ge=0, le=_LARGEST_SEED, description="of weights, shuffling and dropout")
    data: DataConfig = DataConfig()
    prepare: PrepareConfig = PrepareConfig()
    model: ModelConfig = MlpConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()

    def section(self, name: str) -> Any:
        """Return a section, or a top-level key, as plain JSON-ready values."""
        return self.model_dump(mode="json", by_alias=True, include={name})[name]
