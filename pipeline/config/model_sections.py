"""Which network is trained, and its sizes: one section for each value of `model.name`."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Positive, Section, check_json, listed


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
        check_json(args, "args")
        return args


ModelConfig = Annotated[MlpConfig | CnnConfig | ResnetConfig | CustomConfig, Field(discriminator="name")]
