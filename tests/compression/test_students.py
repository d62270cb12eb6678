"""The student that nobody named."""

import pytest

from pipeline.compression.students import student_of
from pipeline.config.model_sections import CnnConfig, CustomConfig, MlpConfig, ModelConfig, ResnetConfig
from pipeline.errors import UserError


@pytest.mark.parametrize(
    ("model", "student"),
    [
        (MlpConfig(hidden=(64, 3, 1)), MlpConfig(hidden=(32, 1, 1))),
        (CnnConfig(channels=(32, 64), hidden=128, dropout=0.1), CnnConfig(channels=(16, 32), hidden=64, dropout=0.1)),
        (ResnetConfig(channels=(32, 64), blocks=2), ResnetConfig(channels=(16, 32), blocks=2)),
    ],
)
def test_a_student_that_is_not_named_has_half_the_widths(model: ModelConfig, student: ModelConfig) -> None:
    assert student_of(model, None) == student
    assert student_of(model, MlpConfig()) == MlpConfig()


def test_a_custom_model_has_no_half() -> None:
    with pytest.raises(UserError, match=r"distill.student: null stands for half the widths .* name a student"):
        student_of(CustomConfig.model_validate({"file": "net.py", "class": "Net"}), None)
