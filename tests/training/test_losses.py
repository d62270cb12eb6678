"""Losses: those of torch where it has them, the published formula where it has not, clear words where one does not fit."""

from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor
from torch.nn import functional

from pipeline.config.train_sections import LossConfig
from pipeline.errors import UserError
from pipeline.training.losses import classification_loss, label_loss, regression_loss
from serving.schema import Schema

CLASSES = Schema(
    task="classification", kind="table", shape=(4,), target="kind", minimum=0.0, maximum=1.0, classes=("a", "b", "c")
)
VALUES = Schema(task="regression", kind="table", shape=(4,), target="price", minimum=0.0, maximum=1.0)
LABELS = replace(CLASSES, task="multilabel", target="tags")
COUNTS = torch.tensor([80, 15, 5])
LABEL_COUNTS = torch.tensor([[20, 80], [90, 10], [100, 0]])  # rows without and with each label


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


def labels(rows: int = 30) -> tuple[Tensor, Tensor]:
    logits, _ = batch(rows)
    return logits, (torch.rand(rows, 3, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def loss_of_labels(logits: Tensor, targets: Tensor, **options: Any) -> float:
    return float(label_loss(LossConfig(**options), LABELS, LABEL_COUNTS)(logits, targets))


@pytest.mark.parametrize("name", ["auto", "bce"])
def test_labels_have_torchs_binary_cross_entropy_by_default(name: str) -> None:
    logits, targets = labels()
    expected = float(functional.binary_cross_entropy_with_logits(logits, targets))
    assert loss_of_labels(logits, targets, name=name) == pytest.approx(expected, rel=1e-6)
    smoothed = float(functional.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1))
    assert loss_of_labels(logits, targets, name=name, label_smoothing=0.2) == pytest.approx(smoothed, rel=1e-6)


def test_balanced_weights_make_having_a_label_count_as_much_as_lacking_it() -> None:
    wanted, logits = label_loss(LossConfig(class_weights="balanced"), LABELS, LABEL_COUNTS), torch.zeros(1, 3)
    nothing = float(wanted(logits, torch.zeros(1, 3)))
    for label, (without, having) in enumerate(LABEL_COUNTS[:2].tolist()):
        target = torch.zeros(1, 3)
        target[0, label] = 1.0
        share = nothing / 3
        assert (float(wanted(logits, target)) - 2 * share) * having == pytest.approx(share * without)
    never = torch.tensor([[0.0, 0.0, 1.0]])
    assert float(wanted(logits, never)) == pytest.approx(nothing), "a label that no train row has keeps its weight"


def test_given_weights_multiply_the_loss_of_the_labels_that_a_row_has() -> None:
    logits, ones = labels(5)[0], torch.ones(5, 3)
    tripled = loss_of_labels(logits, ones, class_weights=(3.0, 3.0, 3.0))
    assert tripled == pytest.approx(3 * loss_of_labels(logits, ones), rel=1e-6)
    assert loss_of_labels(logits, 0 * ones, class_weights=(3.0, 3.0, 3.0)) == loss_of_labels(logits, 0 * ones)


def test_focal_loss_of_labels_is_the_published_formula_and_bce_where_gamma_is_0() -> None:
    logits, targets = labels()
    right = torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid())
    expected = float((-((1 - right) ** 2) * right.log()).mean())
    assert loss_of_labels(logits, targets, name="focal", focal_gamma=2.0) == pytest.approx(expected, rel=1e-5)
    plain = loss_of_labels(logits, targets)
    assert loss_of_labels(logits, targets, name="focal", focal_gamma=0.0) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"name": "focal"}, {"class_weights": "balanced"}])
def test_a_step_over_labels_computed_in_parts_has_the_same_loss(options: dict[str, Any]) -> None:
    logits, targets = labels(30)
    parts = [loss_of_labels(logits[i : i + 10], targets[i : i + 10], **options) / 3 for i in (0, 10, 20)]
    assert sum(parts) == pytest.approx(loss_of_labels(logits, targets, **options), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("auto", functional.mse_loss), ("mae", functional.l1_loss), ("huber", functional.huber_loss)]
)
def test_losses_of_values_are_torchs(name: Any, expected: Any) -> None:
    outputs, targets = torch.randn(9), torch.randn(9)
    assert regression_loss(LossConfig(name=name), VALUES)(outputs, targets) == expected(outputs, targets)


def test_the_loss_of_several_values_is_the_mean_over_rows_and_outputs() -> None:
    outputs, targets = torch.randn(9, 2), torch.randn(9, 2)
    each = [functional.mse_loss(outputs[:, index], targets[:, index]) for index in range(2)]
    assert float(regression_loss(LossConfig(), VALUES)(outputs, targets)) == pytest.approx(float(sum(each)) / 2)


@pytest.mark.parametrize(
    ("options", "schema", "message"),
    [
        ({"name": "mse"}, CLASSES, "train.loss.name: 'mse' does not fit target 'kind', which has classes; choose among"),
        (
            {"name": "bce"},
            CLASSES,
            "train.loss.name: 'bce' does not fit target 'kind', which has classes; choose among auto, cross",
        ),
        (
            {"name": "cross_entropy"},
            LABELS,
            "'cross_entropy' does not fit target 'tags', which has labels, of which a row may have",
        ),
        (
            {"class_weights": (1.0,)},
            LABELS,
            "train.loss.class_weights: 1 numbers for 3 labels; one each, in this order: a, b, c",
        ),
        ({"name": "focal"}, VALUES, "train.loss.name: 'focal' does not fit target 'price', which has values"),
        ({"label_smoothing": 0.1}, VALUES, "train.loss.label_smoothing: is for classes"),
        ({"class_weights": "balanced"}, VALUES, "train.loss.class_weights: is for classes"),
        ({"class_weights": (1.0, 2.0)}, CLASSES, "train.loss.class_weights: 2 numbers for 3 classes; one each, in this order"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_with_its_key(options: dict[str, Any], schema: Schema, message: str) -> None:
    config = LossConfig(**options)
    with pytest.raises(UserError, match=message):
        if schema is VALUES:
            regression_loss(config, schema)
        elif schema is LABELS:
            label_loss(config, schema, LABEL_COUNTS)
        else:
            classification_loss(config, schema, COUNTS)
