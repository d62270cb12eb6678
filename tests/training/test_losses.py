"""Losses: those of torch where it has them, the published formula where it has not, clear words where one does not fit."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.train_sections import LossConfig
from pipeline.errors import UserError
from pipeline.training.losses import classification_loss, regression_loss
from serving.schema import Schema

CLASSES = Schema(
    task="classification", kind="table", shape=(4,), target="kind", minimum=0.0, maximum=1.0, classes=("a", "b", "c")
)
VALUES = Schema(task="regression", kind="table", shape=(4,), target="price", minimum=0.0, maximum=1.0)
COUNTS = torch.tensor([80, 15, 5])


def batch(rows: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, 3, generator=generator), torch.randint(0, 3, (rows,), generator=generator)


def loss(logits: Tensor, targets: Tensor, **options: Any) -> float:
    return float(classification_loss(LossConfig(**options), CLASSES, COUNTS)(logits, targets))


def test_the_default_is_cross_entropy_and_label_smoothing_is_torchs() -> None:
    logits, targets = batch()
    assert loss(logits, targets) == float(functional.cross_entropy(logits, targets))
    assert loss(logits, targets, label_smoothing=0.1) == float(functional.cross_entropy(logits, targets, label_smoothing=0.1))


def test_balanced_weights_make_every_class_count_the_same_over_the_train_rows() -> None:
    logits = torch.zeros(100, 3)
    targets = torch.repeat_interleave(torch.arange(3), COUNTS)
    wanted = LossConfig(class_weights="balanced")
    each = [float(classification_loss(wanted, CLASSES, COUNTS)(logits[targets == c], targets[targets == c])) for c in range(3)]
    shares = [value * int(count) for value, count in zip(each, COUNTS, strict=True)]
    assert shares == pytest.approx([shares[0]] * 3)
    assert loss(logits, targets, class_weights="balanced") == pytest.approx(loss(logits, targets)), "the mean weight is 1"


def test_given_weights_multiply_the_loss_of_their_class() -> None:
    logits, _ = batch(5)
    ones = torch.ones(5, dtype=torch.long)
    assert loss(logits, ones, class_weights=(1.0, 3.0, 1.0)) == pytest.approx(3 * loss(logits, ones), rel=1e-6)


def test_focal_loss_is_the_published_formula_and_cross_entropy_where_gamma_is_0() -> None:
    logits, targets = batch()
    right = logits.softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1)
    expected = float((-((1 - right) ** 2) * right.log()).mean())
    assert loss(logits, targets, name="focal", focal_gamma=2.0) == pytest.approx(expected, rel=1e-5)
    assert loss(logits, targets, name="focal", focal_gamma=0.0) == pytest.approx(loss(logits, targets), rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"name": "focal"}, {"class_weights": "balanced"}, {"label_smoothing": 0.1}])
def test_a_step_computed_in_parts_has_the_same_loss(options: dict[str, Any]) -> None:
    logits, targets = batch(30)
    parts = [loss(logits[i : i + 10], targets[i : i + 10], **options) / 3 for i in (0, 10, 20)]
    assert sum(parts) == pytest.approx(loss(logits, targets, **options), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"name": "focal"}, {"class_weights": "balanced"}])
def test_probabilities_of_mixed_rows_are_targets_too(options: dict[str, Any]) -> None:
    logits, targets = batch()
    certain = functional.one_hot(targets, 3).float()
    assert loss(logits, certain, **options) == pytest.approx(loss(logits, targets, **options), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("auto", functional.mse_loss), ("mae", functional.l1_loss), ("huber", functional.huber_loss)]
)
def test_losses_of_values_are_torchs(name: Any, expected: Any) -> None:
    outputs, targets = torch.randn(9), torch.randn(9)
    assert regression_loss(LossConfig(name=name), VALUES)(outputs, targets) == expected(outputs, targets)


@pytest.mark.parametrize(
    ("options", "schema", "message"),
    [
        ({"name": "mse"}, CLASSES, "train.loss.name: 'mse' does not fit target 'kind', which has classes; choose among"),
        ({"name": "focal"}, VALUES, "train.loss.name: 'focal' does not fit target 'price', which has values"),
        ({"label_smoothing": 0.1}, VALUES, "train.loss.label_smoothing: is for classes"),
        ({"class_weights": "balanced"}, VALUES, "train.loss.class_weights: is for classes"),
        ({"class_weights": (1.0, 2.0)}, CLASSES, "train.loss.class_weights: 2 numbers for 3 classes; one each, in this order"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_with_its_key(options: dict[str, Any], schema: Schema, message: str) -> None:
    config = LossConfig(**options)
    with pytest.raises(UserError, match=message):
        _ = regression_loss(config, schema) if schema is VALUES else classification_loss(config, schema, COUNTS)
