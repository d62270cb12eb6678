"""What training minimizes and what it reports, for each task.

Metrics are measured once an epoch, on all outputs of the epoch at once: aggregated over rows, never averaged over batches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config.train_sections import LossConfig
from pipeline.metrics.tasks import auroc, classification_metrics, label_metrics, regression_metrics
from pipeline.models.deployable import Deployable
from pipeline.training.losses import Loss, classification_loss, label_loss, regression_loss
from serving.schema import Schema


@dataclass(frozen=True)
class Objective:
    """A loss and the metrics beside it.

    loss: (outputs (batch, n), targets) -> scalar. metrics: (outputs (rows, n), targets) -> name → number. Outputs are the
    network's own: logits, or normalized values. Targets are as batches have them: (batch,), or (batch, n) for labels, for
    several values and for probabilities of mixed rows, which metrics measure against what is likelier.
    """

    loss: Loss
    metrics: Callable[[Tensor, Tensor], dict[str, float]]


def objective_for(
    schema: Schema,
    deployable: Deployable,
    config: LossConfig,
    *,
    class_counts: Tensor,
    top_k: int | None = None,
) -> Objective:
    """Return the loss named in config, by default the task's own (`LossConfig`), and the task's metrics.

    Errors of a regression are in the target's unit. class_counts: (classes,) train rows of each class, or (labels, 2) train
    rows without and with each label. Raises UserError for a loss that does not fit the task.
    """
    match schema.task:
        case "classification":
            return Objective(classification_loss(config, schema, class_counts), _class_metrics(top_k))
        case "multilabel":
            return Objective(label_loss(config, schema, class_counts), _label_metrics)
        case "regression":
            return _of_values(deployable, regression_loss(config, schema), several=bool(schema.targets))


def _class_metrics(top_k: int | None) -> Callable[[Tensor, Tensor], dict[str, float]]:
    def measure(logits: Tensor, targets: Tensor) -> dict[str, float]:
        probabilities = torch.softmax(logits, dim=1)
        if targets.ndim == 2:
            targets = targets.argmax(1)
        return {**classification_metrics(probabilities, targets, top_k=top_k), "auroc": auroc(probabilities, targets)}

    return measure


def _label_metrics(logits: Tensor, targets: Tensor) -> dict[str, float]:
    probabilities = torch.sigmoid(logits)
    return {**label_metrics(probabilities, targets), "auroc": auroc(probabilities, targets)}


def _of_values(deployable: Deployable, loss: Loss, *, several: bool) -> Objective:
    target = deployable.target

    def shaped(outputs: Tensor) -> Tensor:
        return outputs if several else outputs.squeeze(1)

    return Objective(
        lambda outputs, targets: loss(shaped(outputs), target(targets)),
        lambda outputs, targets: regression_metrics(target.undo(shaped(outputs)), targets),
    )
