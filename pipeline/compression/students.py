"""Which network learns: the one that config names, or the same kind as the model with half the widths."""

from pathlib import Path

from pipeline.config.model_sections import CnnConfig, CustomConfig, MlpConfig, ModelConfig, ResnetConfig
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


def source_of(student: ModelConfig) -> bytes | None:
    """Return the text of a custom student's file, None for any other; raise UserError when it cannot be read."""
    if not isinstance(student, CustomConfig):
        return None
    try:
        return Path(student.file).read_bytes()
    except OSError as error:
        raise UserError(
            f"distill.student.file: {student.file!r} cannot be read ({error.strerror}); paths are relative to the folder of "
            "the command"
        ) from error


def _halves(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, width // 2) for width in widths)
