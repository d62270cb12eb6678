"""How train images are changed at random, batch by batch."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section, Share

Degrees = Annotated[float, Field(ge=0, le=180)]
Below1 = Annotated[float, Field(ge=0, lt=1)]


class AugmentConfig(Section):
    """Random changes of train images; 0 is off. Validation, test and serving never see them."""

    flip_horizontal: Share = Field(0.0, description="probability of a mirror image; only where left and right mean the same")
    flip_vertical: Share = Field(0.0, description="probability of a picture upside down")
    rotate_degrees: Degrees = Field(0.0, description="largest angle, either way")
    translate: Below1 = Field(0.0, description="largest shift, as a share of width and height")
    scale: Below1 = Field(0.0, description="largest change of size; 0.1: 90 % to 110 %")
    shear_degrees: Annotated[float, Field(ge=0, lt=90)] = Field(0.0, description="largest shear angle, either way")
    crop_padding: int = Field(
        0, ge=0, description="pixels of dark border added before a crop of the old size at a random place"
    )
    brightness: Below1 = Field(0.0, description="largest change; 0.2: 80 % to 120 %")
    contrast: Below1 = Field(0.0, description="largest change, about the mean gray of each image")
    saturation: Below1 = Field(0.0, description="largest change; RGB images")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.0, description="largest shift around the color circle; RGB images")
    erase: Share = Field(0.0, description="probability that a random rectangle is blanked (Zhong et al. 2020)")
    mixup_alpha: float = Field(0.0, ge=0, description="Beta(alpha, alpha) of mixed pairs of rows (Zhang et al. 2018)")
    cutmix_alpha: float = Field(
        0.0, ge=0, description="Beta(alpha, alpha) of the area pasted from another row (Yun et al. 2019)"
    )

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return any(self.model_dump().values())
