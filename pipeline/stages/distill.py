"""distill: Prepared + Model -> Distilled."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from torch import nn

from pipeline.artifacts import Model, Prepared
from pipeline.compression.distillation import Lesson, placed, taught, teacher_loss
from pipeline.compression.foreseen import check_features
from pipeline.compression.students import source_of, student_of
from pipeline.compression.teachers import teacher_of
from pipeline.config import Config
from pipeline.errors import GateRefused
from pipeline.stages import Outcome
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.interrupt import Interrupt
from pipeline.training.loop import measure, outputs_of
from pipeline.training.retraining import Retrained, retimed, retrain, told_as, varied
from pipeline.training.setup import early_stopping_of
from pipeline.training.weights import dump, load
from serving.files import write_atomic

REPORT = "distill.json"
_SCRATCH = "without-teacher-"


@dataclass(frozen=True)
class _Work:
    """What both trainings of the student share, so that the teacher is all they differ in.

    source: text of a custom student's file. teacher: on the CPU.
    """

    config: Config
    prepared: Prepared
    source: bytes | None
    teacher: nn.Module
    tracker: Tracker
    interrupt: Interrupt

    def assembled(self, choices: dict[str, Any] | None = None) -> Assembly:
        """Put the student together, seeded."""
        with told_as("distill", model="distill.student"):
            return assemble(self.config, self.prepared, source=self.source, choices=choices)

    def trained(self, parts: Assembly, *, out: Path, tracker: Tracker) -> Retrained:
        """Train the student to its end."""
        with told_as("distill", model="distill.student"):
            return retrain(self.config, parts, out=out, source=self.source, tracker=tracker, interrupt=self.interrupt)


@dataclass(frozen=True)
class _Learned:
    """The student's training, what it and its teacher are worth on the validation rows, and how it was computed."""

    found: Retrained
    student: dict[str, Any]
    teacher: dict[str, Any]
    choices: dict[str, Any]
    headline: str
    device: str


def run(config: Config, prepared: Prepared, model: Model, *, out: Path, tracker: Tracker) -> Outcome:
    """Train the student on what the teacher answers; refuse a student that is no smaller than its teacher."""
    section = config.distill
    check_features(config)
    teacher = teacher_of(section.teacher, prepared, model)
    train = retimed(config.train, epochs=section.epochs, lr=section.lr)
    if section.feature_weight and train.compile == "auto":
        train = train.model_copy(update={"compile": False})  # what is compiled cannot be looked into
    student = student_of(config.model, section.student)
    own = varied(config, model=student, train=train)
    source = source_of(student)
    if source is not None:
        write_atomic(out / Model.SOURCE, source)  # so that the artifact is whole without the file

    with Interrupt() as interrupt:
        work = _Work(own, prepared, source, _network_of(teacher), tracker, interrupt)
        learned = _learn(work, teacher, Lesson(section.temperature, section.weight, section.feature_weight), out)
        alone = _learn_alone(work, learned.choices, out) if section.baseline else None

    report = {"teacher": learned.teacher, "student": learned.student, "without_teacher": alone}
    write_atomic(out / REPORT, msgspec.json.format(msgspec.json.encode(report), indent=2))
    return _outcome(learned, alone)


def _learn(work: _Work, teacher: Model, lesson: Lesson, out: Path) -> _Learned:
    """Train the student with its teacher, into `out`."""
    parts, tracker = work.assembled(), work.tracker
    checkpoint = teacher.manifest.makes[Model.BEST].bytes
    _refuse_unless_smaller(parts, checkpoint)
    net = _placed(work, parts)
    with_teacher = taught(parts, net, lesson)
    teaching = {
        "run": teacher.folder.parent.name,
        "parameters": _parameters(net),
        "bytes": checkpoint,
        "validation": measure(net, parts.rows.validation, parts.objective),
    }

    tracker.event("choices", **parts.choices)
    stopping, batches = early_stopping_of(work.config.train.early_stopping), len(parts.rows.train)
    tracker.event(
        "work_started",
        steps=work.config.train.epochs,
        device=str(parts.device),
        parameters=_parameters(parts.state.net),
        rows=parts.rows.train.rows,
        batches=batches,
        best=stopping.monitor,
        mode=stopping.mode,
    )
    found = work.trained(with_teacher, out=out, tracker=tracker)
    student = _entry(found, parts, net, out)
    return _Learned(found, student, teaching, parts.choices, parts.schema.headline, str(parts.device))


def _learn_alone(work: _Work, choices: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train the same student without its teacher: same seed, same batches, same steps; its files are thrown away."""
    work.tracker.event("working_on", what="the same student without its teacher")
    parts = work.assembled(choices)
    with TemporaryDirectory(dir=out, prefix=_SCRATCH) as scratch:
        found = work.trained(parts, out=Path(scratch), tracker=Tracker(work.tracker.stage))
        return _entry(found, parts, _placed(work, parts), Path(scratch))


def _placed(work: _Work, parts: Assembly) -> nn.Module:
    """Return the teacher where the student is."""
    return placed(work.teacher, parts.device, channels_last=work.config.train.channels_last)


def _entry(found: Retrained, parts: Assembly, teacher: nn.Module, folder: Path) -> dict[str, Any]:
    """Return what is said of a student.

    from_teacher: how far its answers to validation rows are from the teacher's, as `teacher_loss` at temperature 1.
    """
    rows, distance = parts.rows.validation, teacher_loss(parts.schema.task, 1.0)
    own, given = (outputs_of(net, rows)[0] for net in (found.net.to(parts.device), teacher))
    return {
        "parameters": _parameters(found.net),
        "bytes": (folder / Model.BEST).stat().st_size,
        "epochs": len(found.history),
        "best_epoch": found.best_epoch,
        "from_teacher": float(distance(own, given)),
        "validation": found.validation,
    }


def _refuse_unless_smaller(parts: Assembly, teacher_bytes: int) -> None:
    """Raise GateRefused before anything is trained: a checkpoint has as many bytes before as after it."""
    stored = len(dump(parts.architecture, parts.state.weights()))
    if stored >= teacher_bytes:
        raise GateRefused(
            f"distill: the student takes {stored:,} bytes and its teacher {teacher_bytes:,}, so nothing is gained; "
            "set a smaller network in distill.student, or leave distill out of export.variants"
        )


def _outcome(learned: _Learned, alone: dict[str, Any] | None) -> Outcome:
    found, student, teacher, metric = learned.found, learned.student, learned.teacher, learned.headline
    told_alone = f", without the teacher {alone['validation'][metric]:.4g}" if alone else ""
    summary = (
        f"{student['parameters']:,} parameters, {student['bytes'] / teacher['bytes']:.0%} of the teacher's bytes: "
        f"val/{metric} {found.validation[metric]:.4g}, teacher {teacher['validation'][metric]:.4g}{told_alone}; "
        f"epoch {found.best_epoch} of {len(found.history)} ({found.stop_reason})"
    )
    metrics = {name: value for name, value in found.best.items() if "/" in name}
    for who, entry in (("teacher", teacher), ("without_teacher", alone)):
        metrics |= {f"{who}/val/{name}": value for name, value in (entry["validation"].items() if entry else ())}
    notes: dict[str, Any] = {"stop_reason": found.stop_reason, "best_epoch": found.best_epoch, "epochs": len(found.history)}
    notes |= {"parameters": student["parameters"], "choices": learned.choices, "teacher": teacher["run"]}
    return Outcome(summary, metrics=metrics, device=learned.device, notes=notes)


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _network_of(model: Model) -> nn.Module:
    """Return the network of a model's best epoch, in eval mode, on the CPU; its bytes are verified."""
    return load(model.read(Model.BEST), source=model.source())
