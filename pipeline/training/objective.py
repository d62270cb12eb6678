"""What training minimizes and what it reports, for each task.

Metrics are measured once an epoch, on all outputs of the epoch at once: aggregated over rows, never averaged over batches.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from pipeline.metrics.tasks import classification_metrics, regression_metrics
from pipeline.models.deployable import Deployable
from serving.schema import Schema


@dataclass(frozen=True)
class Objective:
    """A loss and the metrics beside it.

    loss: (outputs (batch, n), targets (batch,)) -> scalar. metrics: (outputs (rows, n), targets (rows,)) -> name → number;
    outputs are the network's own: logits, or normalized values.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: Callable[[Tensor, Tensor], dict[str, float]]


def objective_for(schema: Schema, deployable: Deployable) -> Objective:
    """Return cross entropy with classification metrics, or mean squared error with regression metrics in the target's unit."""
    if schema.task == "classification":
        return Objective(
            functional.cross_entropy, lambda logits, targets: classification_metrics(logits.argmax(1), targets, schema.outputs)
        )
    target = deployable.target
    return Objective(
        lambda outputs, targets: functional.mse_loss(outputs.squeeze(1), target(targets)),
        lambda outputs, targets: regression_metrics(target.undo(outputs.squeeze(1)), targets),
    )
