"""What training minimizes and what it reports, for each task.

Metrics are measured once an epoch, on all outputs of the epoch at once: aggregated over rows, never averaged over batches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config.train_sections import LossConfig
from pipeline.metrics.tasks import auroc, classification_metrics, regression_metrics
from pipeline.models.deployable import Deployable
from pipeline.training.losses import Loss, classification_loss, regression_loss
from serving.schema import Schema


@dataclass(frozen=True)
class Objective:
    """A loss and the metrics beside it.

    loss: (outputs (batch, n), targets (batch,)) -> scalar. metrics: (outputs (rows, n), targets (rows,)) -> name → number;
    outputs are the network's own: logits, or normalized values.
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
    """Return the loss named in config, by default cross entropy or mean squared error, and the task's metrics.

    Errors of a regression are in the target's unit. class_counts: (classes,) train rows of each class. Raises UserError for a
    loss that does not fit the task.
    """
    if schema.task == "classification":
        loss = classification_loss(config, schema, class_counts)

        def measure(logits: Tensor, targets: Tensor) -> dict[str, float]:
            probabilities = torch.softmax(logits, dim=1)
            return {**classification_metrics(probabilities, targets, top_k=top_k), "auroc": auroc(probabilities, targets)}

        return Objective(loss, measure)
    target, of_values = deployable.target, regression_loss(config, schema)
    return Objective(
        lambda outputs, targets: of_values(outputs.squeeze(1), target(targets)),
        lambda outputs, targets: regression_metrics(target.undo(outputs.squeeze(1)), targets),
    )
