"""What training minimizes: each a mean over the rows of a batch, so that a step computed in parts is the same step."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.train_sections import LossConfig
from pipeline.errors import UserError
from serving.schema import Schema

Loss = Callable[[Tensor, Tensor], Tensor]  # (outputs, targets) -> scalar
_SURE = 1e-6
_FOR_CLASSES, _FOR_LABELS = {"auto", "cross_entropy", "focal"}, {"auto", "bce", "focal"}
_FOR_VALUES = {"auto", "mse", "mae", "huber"}


def classification_loss(config: LossConfig, schema: Schema, counts: Tensor) -> Loss:
    """Return a loss of logits (batch, classes) and targets: (batch,) classes, or (batch, classes) probabilities of mixed rows.

    counts: (classes,) train rows of each class. Raises UserError for a loss of values, or for weights that do not fit.
    """
    _refuse(config.name, _FOR_CLASSES, "classes", schema)
    weights = _class_weights(config, schema, counts)
    smoothing = config.label_smoothing
    if config.name == "focal":
        return _focal(config.focal_gamma, weights, smoothing)
    if weights is None:
        if not smoothing:
            return functional.cross_entropy
        return lambda logits, targets: functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    return lambda logits, targets: functional.cross_entropy(
        logits, targets, weight=weights.to(logits.device), reduction="none", label_smoothing=smoothing
    ).mean()


def label_loss(config: LossConfig, schema: Schema, counts: Tensor) -> Loss:
    """Return a loss of logits and targets, both (batch, labels): the mean over rows and labels of the binary cross entropy.

    Targets are 0 and 1, or between them for mixed rows. counts: (labels, 2) train rows without and with each label. Class
    weights multiply the loss of the labels that a row has. Raises UserError for another kind of loss, or for weights that do
    not fit.
    """
    _refuse(config.name, _FOR_LABELS, "labels, of which a row may have several,", schema)
    weights, smoothing = _label_weights(config, schema, counts), config.label_smoothing
    gamma = config.focal_gamma if config.name == "focal" else None

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        given = None if weights is None else weights.to(logits.device)
        smooth = targets * (1 - smoothing) + smoothing / 2
        entropy = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=given, reduction="none")
        if gamma is None:
            return entropy.mean()
        probabilities = torch.sigmoid(logits)
        wrong = (probabilities * (1 - targets) + (1 - probabilities) * targets).clamp_min(_SURE)
        return (wrong**gamma * entropy).mean()

    return loss


def regression_loss(config: LossConfig, schema: Schema) -> Loss:
    """Return a loss of outputs and targets, both (batch,) or (batch, outputs) and normalized, the mean over all of them.

    Raises UserError for a loss of classes.
    """
    _refuse(config.name, _FOR_VALUES, "values", schema)
    for key, off in (("label_smoothing", 0.0), ("class_weights", "none")):
        if getattr(config, key) != off:
            raise UserError(f"train.loss.{key}: is for classes, and target {schema.target!r} has values; leave it {off}")
    losses: dict[str, Loss] = {"mae": functional.l1_loss, "huber": functional.huber_loss}
    return losses.get(config.name, functional.mse_loss)


def _focal(gamma: float, weights: Tensor | None, smoothing: float) -> Loss:
    """Return the focal loss (Lin et al. 2017): cross entropy, where a row that is right with p counts (1 - p) ** gamma."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        given = None if weights is None else weights.to(logits.device)
        entropy = functional.cross_entropy(logits, targets, weight=given, reduction="none", label_smoothing=smoothing)
        probabilities = torch.softmax(logits, dim=1)
        mixed = targets.is_floating_point()
        right = (probabilities * targets).sum(1) if mixed else probabilities.gather(1, targets.unsqueeze(1)).squeeze(1)
        wrong = (1 - right).clamp_min(_SURE)  # the slope of a power below 1 is infinite at 0
        return (wrong**gamma * entropy).mean()

    return loss


def _class_weights(config: LossConfig, schema: Schema, counts: Tensor) -> Tensor | None:
    """Return one weight for each class: rows / (classes * rows of the class), or the given ones."""
    if config.class_weights == "balanced":
        return counts.sum() / (len(counts) * counts.clamp_min(1)).float()
    return _given_weights(config, schema)


def _label_weights(config: LossConfig, schema: Schema, counts: Tensor) -> Tensor | None:
    """Return one weight for each label: rows without / rows with it, or the given ones; a label of all rows or none keeps 1."""
    if config.class_weights == "balanced":
        without, having = counts.T.float()
        return torch.where((without > 0) & (having > 0), without / having.clamp_min(1), 1.0)
    return _given_weights(config, schema)


def _given_weights(config: LossConfig, schema: Schema) -> Tensor | None:
    given = config.class_weights
    if isinstance(given, str):
        return None
    if len(given) != schema.outputs:
        raise UserError(
            f"train.loss.class_weights: {len(given)} numbers for {schema.outputs} "
            f"{'labels' if schema.task == 'multilabel' else 'classes'}; one each, in this order: {', '.join(schema.classes)}"
        )
    return torch.tensor(given)


def _refuse(name: str, allowed: set[str], kind: str, schema: Schema) -> None:
    if name not in allowed:
        raise UserError(
            f"train.loss.name: {name!r} does not fit target {schema.target!r}, which has {kind}; "
            f"choose among {', '.join(sorted(allowed))}"
        )
