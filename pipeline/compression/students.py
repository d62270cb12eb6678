"""The student that nobody named: the same kind of network with half the widths."""

from pipeline.config.model_sections import CnnConfig, MlpConfig, ModelConfig, ResnetConfig
from pipeline.errors import UserError


def student_of(model: ModelConfig, named: ModelConfig | None) -> ModelConfig:
    """Return the student that config names, or one with half the widths of `model`, of which a quarter of the weights is left.

    Raises UserError for a model that is nothing but a user's class.
    """
    if named is not None:
        return named
    match model:
        case MlpConfig():
            return model.model_copy(update={"hidden": _halves(model.hidden)})
        case CnnConfig():
            return model.model_copy(update={"channels": _halves(model.channels), "hidden": max(1, model.hidden // 2)})
        case ResnetConfig():
            return model.model_copy(update={"channels": _halves(model.channels)})
    raise UserError("distill.student: null stands for half the widths of the model, which a custom model lacks; name a student")


def _halves(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, width // 2) for width in widths)
