"""What a student learns from a teacher beside the rows' own targets (Hinton, Vinyals and Dean 2015).

    lesson = Lesson(temperature=4.0, weight=0.7, feature_weight=0.0)
    retrain(config, taught(parts, teacher, lesson), …)      # the one training loop, with both answers to each batch

The loop knows one network and one loss. So the student is called together with its teacher, and answers with more columns than
it has outputs: (batch, outputs) of its own, (batch, outputs) of the teacher, and where features count one column with what
they differ by. The loss takes them apart. In validation the student is called alone, and its loss is the task's, which can be
compared with that of any other training.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import UserError
from pipeline.training.assembly import Assembly
from pipeline.training.losses import Loss
from pipeline.training.objective import Objective
from pipeline.training.setup import wants_channels_last
from serving.schema import Task

_NO_DIRECTION = 1e-8  # of a row of similarities: shorter ones, as of features that are all zero, have none to be learned


@dataclass(frozen=True)
class Lesson:
    """How much the teacher counts.

    temperature: what both answers are divided by before they are compared. weight: share of the teacher's answers in the loss,
    0 to 1; the rest is of the rows' own targets. feature_weight: what the difference of features is multiplied by and added.
    """

    temperature: float
    weight: float
    feature_weight: float = 0.0


def placed(teacher: nn.Module, device: torch.device, *, channels_last: bool | Literal["auto"]) -> nn.Module:
    """Return the teacher as `taught` takes it: in eval mode, without gradients, on `device`."""
    net = teacher.eval().requires_grad_(requires_grad=False).to(device)
    if wants_channels_last(channels_last, net):
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return net


def taught(parts: Assembly, teacher: nn.Module, lesson: Lesson) -> Assembly:
    """Return the training `parts` with a teacher in its steps; `parts` itself stays as it is.

    teacher: (batch, *input_shape) preprocessed -> (batch, outputs), in eval mode, on the device of `parts`. Nothing of it is
    part of the student's weights or checkpoints. Raises UserError, in the first step, where features count and a network has no
    fully connected layer to read them from.
    """
    state = parts.state
    student = state.forward if state.forward is not None else state.net
    forward: Callable[[Tensor], Tensor] = _Answers(student, teacher)
    if lesson.feature_weight:
        assert state.forward is None, "a compiled network may leave out what a hook would see"  # check_features, distill.run
        forward = _AnswersAndFeatures(state.net, teacher)
    objective = distilling(parts.objective, parts.schema.task, parts.schema.outputs, lesson)
    return replace(parts, objective=objective, state=replace(state, forward=forward))


def distilling(task: Objective, kind: Task, outputs: int, lesson: Lesson) -> Objective:
    """Return the objective of columns as `taught` makes them; of (batch, outputs) alone it is `task` itself."""
    distance = teacher_loss(kind, lesson.temperature)

    def loss(columns: Tensor, targets: Tensor) -> Tensor:
        if columns.shape[1] == outputs:
            return task.loss(columns, targets)
        student, teacher = columns[:, :outputs], columns[:, outputs : 2 * outputs]
        total = lesson.weight * distance(student, teacher) + (1 - lesson.weight) * task.loss(student, targets)
        if lesson.feature_weight:
            total = total + lesson.feature_weight * columns[:, -1].mean()
        return total

    return Objective(loss, lambda columns, targets: task.metrics(columns[:, :outputs], targets))


def teacher_loss(task: Task, temperature: float) -> Loss:
    """Return how far a student's outputs are from the teacher's, both (batch, outputs), as a mean over rows: 0 where equal.

    Classes: KL(teacher || student) of both divided by the temperature, times its square, which keeps gradients as large as
    those of the targets (Hinton et al. 2015). Labels: the same for each label with yes and no as its classes, the mean over
    labels. Values: the mean squared difference of normalized values, which have no temperature.
    """
    scale = temperature * temperature

    def of_classes(student: Tensor, teacher: Tensor) -> Tensor:
        learned, given = (functional.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
        return functional.kl_div(learned, given, reduction="batchmean", log_target=True) * scale

    def of_labels(student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = student / temperature, teacher / temperature
        of_yes = torch.sigmoid(teacher) * (functional.logsigmoid(teacher) - functional.logsigmoid(student))
        of_no = torch.sigmoid(-teacher) * (functional.logsigmoid(-teacher) - functional.logsigmoid(-student))
        return (of_yes + of_no).mean() * scale

    losses: dict[Task, Loss] = {"classification": of_classes, "multilabel": of_labels, "regression": functional.mse_loss}
    return losses[task]


def similarity_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Return for each row how much its likeness to the others differs between student and teacher, (batch,), each 0 to 4.

    student: (batch, any width), teacher: (batch, any other width), features of the same rows. Their products with each other
    are (batch, batch); each row of those is scaled to length 1, and the squared differences are summed over it. The mean over
    rows, divided by their number, is the loss of similarity-preserving distillation (Tung and Mori 2019).
    """
    return (_likeness(student) - _likeness(teacher)).square().sum(dim=1) / len(student)


def _likeness(features: Tensor) -> Tensor:
    """Return (batch, batch), rows of length 1; a row without features is zero, and passes no gradient on."""
    rows = features.flatten(1)
    products = rows @ rows.T
    lengths = torch.linalg.vector_norm(products, dim=1, keepdim=True)
    return torch.where(lengths > _NO_DIRECTION, products / lengths.clamp_min(_NO_DIRECTION), 0.0)


class _Answers:
    """Calls student and teacher on the same rows."""

    def __init__(self, student: Callable[[Tensor], Tensor], teacher: nn.Module) -> None:
        self._student, self._teacher = student, teacher

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return (batch, 2 * outputs) in float32."""
        with torch.no_grad():
            given = self._teacher(inputs.clone())  # a network that writes into its rows must not change the student's
        return torch.cat([self._student(inputs).float(), given.float()], dim=1)


class _AnswersAndFeatures:
    """Calls student and teacher on the same rows, and compares what their last layers get."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        self._student = _LastFeatures(student, "distill.student")
        self._teacher = _LastFeatures(teacher, "distill.teacher")

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return (batch, 2 * outputs + 1) in float32."""
        with torch.no_grad():
            given, shown = self._teacher(inputs.clone())
        answered, own = self._student(inputs)
        with torch.autocast(inputs.device.type, enabled=False):  # sums over features need float32
            gap = similarity_gap(own.float(), shown.float())
        return torch.cat([answered.float(), given.float(), gap.unsqueeze(1)], dim=1)


class _LastFeatures:
    """Calls a network, and reads what the fully connected layer that computes last is given.

    Layers are watched during the call alone, and the order is that of the call: a class may name its layers in any.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        self._net, self._name = net, name
        self._layers = [module for module in net.modules() if isinstance(module, nn.Linear)]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (batch, outputs) and (batch, …)."""
        seen: list[Tensor] = []

        def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
            seen[:] = given[:1]

        handles = [layer.register_forward_pre_hook(keep) for layer in self._layers]
        try:
            outputs: Tensor = self._net(inputs)
        finally:
            for handle in handles:
                handle.remove()
        if not seen or len(seen[0]) != len(inputs):
            raise UserError(
                f"distill.feature_weight: the network of {self._name} has no fully connected layer (torch.nn.Linear) that "
                "takes a row for each of the batch, and features are read in front of it; set distill.feature_weight=0"
            )
        return outputs, seen[0]
