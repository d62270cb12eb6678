"""What a config alone shows to be wrong with `prune` and `distill`: told before a model is trained for it. Imports no torch."""

from pathlib import Path

from pipeline.compression.students import source_of, student_of
from pipeline.compression.teachers import training_of
from pipeline.config import Config
from pipeline.config.model_sections import MlpConfig
from pipeline.errors import GateRefused, UserError


def check_prune(config: Config) -> None:
    """Raise UserError for an importance that the model has no numbers for; of a custom model only its layers tell."""
    section = config.prune
    if section.method == "structured" and section.importance == "bn_scale" and isinstance(config.model, MlpConfig):
        raise UserError(
            f"prune.importance: bn_scale needs channels with batch normalization, and model.name={config.model.name} has none; "
            "set prune.importance=l2"
        )


def check_distill(config: Config, root: Path) -> None:
    """Raise UserError for a student or a teacher that is not there, GateRefused for a student that is the model itself.

    root: the folder of all runs, where another run's teacher is looked for. Whether that one learned from the same rows is
    known once these are prepared.
    """
    section = config.distill
    student = student_of(config.model, section.student)
    source_of(student)
    check_features(config)
    if section.teacher is not None:
        training_of(section.teacher, root)
    elif student == config.model:
        raise GateRefused(
            "distill: the student is the same network as its teacher, which is the model, so nothing is gained; set a smaller "
            "one in distill.student, or leave distill out of export.variants"
        )


def check_features(config: Config) -> None:
    """Raise UserError where features are to be read from a compiled network, which may leave out what a hook would see."""
    weight = config.distill.feature_weight
    if weight and config.train.compile is True:
        raise UserError(
            f"train.compile: true, and distill.feature_weight {weight:g} looks into the network while it "
            "computes; set train.compile=false, or distill.feature_weight=0"
        )
