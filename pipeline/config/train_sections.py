"""How a network is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.section import Fraction, Positive, Section, listed

Auto = Literal["auto"]


class LossConfig(Section):
    """What training minimizes."""

    name: Literal["auto", "cross_entropy", "bce", "focal", "mse", "mae", "huber"] = Field(
        "auto", description="auto: cross_entropy for classes, bce for labels of which a row may have several, mse for values"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of a class label spread over all classes; of several labels, over yes and no"
    )
    focal_gamma: float = Field(2.0, ge=0, description="focal: how much rows that are already right count less")
    class_weights: (
        Literal["none", "balanced"] | Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False, min_length=1)]
    ) = Field(
        "none",
        description="balanced: rare classes count more, as rows / (classes * rows of the class), of several labels those that "
        "a row has, as rows without / rows with the label; or a number each",
    )


class OptimizerConfig(Section):
    """How gradients change weights; the learning rate is `train.lr`."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = Field("adamw", description="the rule")
    weight_decay: float = Field(0.01, ge=0, description="decay of weight matrices; norms and biases are spared")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and rmsprop; 0: plain")


class ScheduleConfig(Section):
    """How the learning rate changes: after each epoch; in warm-up and one_cycle at each step."""

    name: Literal["constant", "step", "multistep", "exponential", "cosine", "one_cycle", "plateau"] = Field(
        "cosine", description="cosine falls to min_lr over train.epochs; one_cycle rises to train.lr, then falls"
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="epochs in which the learning rate first rises linearly; the schedule begins after them"
    )
    step_epochs: Positive = Field(10, description="step: epochs between two drops")
    milestones: tuple[Positive, ...] = listed((30, 45), "multistep: epochs after which the learning rate drops")
    factor: Fraction = Field(0.1, description="step, multistep, plateau: what a drop multiplies by")
    gamma: Fraction = Field(0.95, description="exponential: what each epoch multiplies by")
    rise: Fraction = Field(0.3, description="one_cycle: share of training in which the learning rate rises")
    plateau_patience: int = Field(
        5, ge=0, description="plateau: epochs without improvement of early_stopping.monitor before a drop"
    )
    min_lr: float = Field(0.0, ge=0, description="cosine, one_cycle and plateau: the lowest learning rate")


class EarlyStoppingConfig(Section):
    """Which epoch is best, and when to stop waiting for a better one."""

    monitor: str = Field("val/loss", description="a metric of train or val in train/history.jsonl, such as val/accuracy")
    mode: Literal["auto", "min", "max"] = Field("auto", description="what is better; auto: losses and errors fall, scores rise")
    patience: Positive | None = Field(15, description="stop after so many epochs without improvement; null: never")
    min_delta: float = Field(
        0.0, ge=0, description="patience counts a smaller improvement as none; the best epoch is kept either way"
    )
    min_delta_mode: Literal["absolute", "relative"] = Field(
        "absolute", description="unit of min_delta: the monitor's own, or a share of the best value"
    )
    warmup_epochs: int = Field(0, ge=0, description="epochs that do not count as waiting")
    stop_when_not_finite: bool = Field(True, description="end training when the monitor is NaN or infinite")


class TrainConfig(Section):
    """One training run."""

    epochs: Positive = Field(60, description="at most; early stopping may end sooner")
    folds: Annotated[int, Field(ge=2, le=100)] | None = Field(
        None, description="cross-validation: so many further trainings, each scored on rows that it never saw"
    )
    batch_size: Positive | Auto = Field(
        32, description="rows in a step; auto: by the number of rows, halved while memory does not suffice"
    )
    accumulate: Positive | Auto = Field(
        1, description="parts a step is computed in, to save memory; auto: doubled when memory does not suffice"
    )
    lr: float = Field(1e-3, gt=0, description="learning rate at the start, or the highest one")
    init: Literal["default", "kaiming", "xavier"] = Field(
        "default", description="how weights of linear and convolutional layers begin; default: torch's or the model's own"
    )
    loss: LossConfig = LossConfig()
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="each row once an epoch, or drawn with replacement so that classes come equally often"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    ema_decay: Fraction | None = Field(
        None, description="validate and keep a moving average of the weights with this decay for each step; null: the weights"
    )
    nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="a step whose loss or gradient is NaN or infinite ends training, or is left out"
    )
    clip_norm: float | None = Field(None, gt=0, description="scale a step's gradient down to this global L2 norm; null: never")
    clip_value: float | None = Field(None, gt=0, description="cut each number of a gradient to this size; null: never")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: cuda, else mps, else cpu")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of autocast in training; auto: bf16 on a GPU that has it, else fp32"
    )
    channels_last: bool | Auto = Field("auto", description="memory order of images; auto: for networks with 2-d convolutions")
    compile: bool | Auto = Field(False, description="torch.compile; auto: measured, where training would take minutes")
    threads: Positive | Auto = Field("auto", description="CPU threads of torch; auto: measured once for a machine and a model")
    in_memory: bool | Auto = Field(
        "auto", description="false: stream rows from disk; auto: stream what is larger than a quarter of the free memory"
    )
    keep_top: Positive = Field(1, description="best epochs whose weights stay on disk, below train/top/ if more than one")
    sanity: bool = Field(True, description="short checks before training; false: train whatever they would say")
    checkpoint_every_s: float = Field(10.0, ge=0, description="seconds between two writes of a checkpoint; 0: after every step")

    @model_validator(mode="after")
    def _falls(self) -> "TrainConfig":
        if self.schedule.min_lr > self.lr:
            raise ValueError(
                f"schedule.min_lr {self.schedule.min_lr:g} is above lr {self.lr:g}, so the learning rate could not fall to it"
            )
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value are two ways to clip; set one of them")
        if self.schedule.warmup_epochs >= self.epochs and self.schedule.warmup_epochs > 0:
            raise ValueError(f"schedule.warmup_epochs {self.schedule.warmup_epochs:g} leaves none of the {self.epochs} epochs")
        return self
