"""Which network is trained, and its sizes: one section for each value of `model.name`."""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from pipeline.config.section import Positive, Section, listed


class MlpConfig(Section):
    """Fully connected layers, for tables and small images."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[Positive, ...] = listed((64, 32), "width of each hidden layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units zeroed in training")


class CnnConfig(Section):
    """Convolutions with batch normalization, for images."""

    name: Literal["cnn"] = "cnn"
    channels: tuple[Positive, ...] = listed(
        (32, 64), "channels of each block of two convolutions; each but the last halves the image"
    )
    hidden: Positive = Field(128, description="width of the layer before the output")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of hidden units zeroed in training")


class ResnetConfig(Section):
    """Residual blocks, for images."""

    name: Literal["resnet"] = "resnet"
    channels: tuple[Positive, ...] = listed((32, 64), "channels of each group of blocks; each but the first halves the image")
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
