"""Pictures and curves show the rows they say, and are on disk before they are recorded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_score, recall_score, roc_curve

from pipeline.errors import UserError
from pipeline.metrics.tasks import class_metrics
from pipeline.models.deployable import Normalize
from pipeline.monitoring import conclude
from pipeline.monitoring.classes import pr_curve, roc
from pipeline.reporting import answers
from tests.monitoring.trainings import CNN, Begin, Training


def images(training: Training) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for record in training.collected.of("images"):
        for tag, path in record.values.items():
            assert path.startswith("images/")
            with Image.open(training.out / path) as picture:
                assert min(picture.size) > 20
            found.setdefault(tag, []).append(record.step)
    return found


def test_an_image_network_shows_filters_features_errors_and_augmentation(training: Begin) -> None:
    whole = training("digits", *CNN, "train.epochs=3", "monitor.images_every=2", "augment.crop_padding=1")
    whole.run()
    assert whole.collected.events("monitor_failed") == []
    layers = ["features/features.0.0", "features/features.4.0"]
    assert images(whole) == {
        "augmented": [0],
        **{tag: [1, 2, 3] for tag in ("confusion", "roc", "filters", *layers, "misclassified")},
    }


def test_a_regression_shows_residuals_and_predictions_and_no_classes(training: Begin) -> None:
    whole = training("diabetes", "monitor.images_every=1", "train.epochs=1")
    whole.run()
    assert images(whole) == {"residuals": [1], "predicted": [1]}
    assert whole.collected.of("pr_curves") == []
    assert whole.collected.numbers("val/") == {}


def test_layers_can_be_named_and_a_wrong_name_lists_what_there_is(training: Begin) -> None:
    whole = training("digits", *CNN, "monitor.feature_layers=[features.2]", "train.epochs=1")
    whole.run()
    assert {tag for tag in images(whole) if tag.startswith("features/")} == {"features/features.2"}
    with pytest.raises(
        UserError, match=r"monitor.feature_layers: the model has no layer 'features.99'; its layers are: features"
    ):
        training("digits", *CNN, "monitor.feature_layers=[features.99]")


def test_a_layer_without_maps_ends_in_one_event(training: Begin) -> None:
    whole = training("digits", *CNN, "monitor.feature_layers=[head.1]", "train.epochs=1")
    whole.run()
    (event,) = whole.collected.events("monitor_failed")
    assert event["why"] == "ValueError: layer head.1 gives the shape (8,), and feature maps have three sizes"


def test_misclassified_rows_are_the_surest_errors_in_raw_units(training: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("pipeline.monitoring.pictures.images_figure", lambda path, *args, **kwargs: shown.append(args))
    whole = training("digits", *CNN, "train.epochs=1", "monitor.image_rows=5")
    monkeypatch.setattr("pipeline.monitoring.pictures.Album.record", lambda *_: None)
    state = whole.run()
    assert state.validated is not None
    raw, titles = shown[0]
    probabilities, targets = torch.softmax(state.validated[0], 1), state.validated[1]
    sure, predicted = probabilities.max(1)
    wrong = torch.where(predicted != targets, sure, 0.0).argsort(descending=True, stable=True)[:5]
    assert titles == [f"{targets[row]} → {predicted[row]}\n{sure[row]:.0%}" for row in wrong]
    rows = whole.parts.rows.validation
    inputs = torch.cat([batch for batch, _ in rows.in_order()])[wrong]
    normalize = whole.parts.deployable.normalize
    assert isinstance(normalize, Normalize)
    np.testing.assert_allclose(raw, normalize.undo(inputs).numpy(), atol=1e-4)
    assert np.abs(raw - raw.round()).max() < 1e-3, "the pixels of digits are whole numbers"


def test_numbers_of_each_class_are_those_of_the_validation_rows(training: Begin) -> None:
    whole = training("iris", "train.epochs=2")
    state = whole.run()
    assert state.validated is not None
    expected = class_metrics(*state.validated)
    found = whole.collected.numbers("val/")
    assert len(found) == 9
    for metric, values in expected.items():
        for label, value in zip(whole.parts.schema.classes, values, strict=True):
            assert found[f"val/{metric}/{label}"][-1] == (2, value)


def test_rates_of_a_roc_curve_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(200, generator=generator) * 20).round() / 20  # with ties
    is_class = torch.rand(200, generator=generator) < scores
    false, true = roc(scores, is_class)
    expected = roc_curve(is_class.numpy(), scores.numpy(), drop_intermediate=False)
    np.testing.assert_allclose(false, expected[0])
    np.testing.assert_allclose(true, expected[1])


def test_counts_at_a_threshold_are_those_of_the_rows_at_or_above_it() -> None:
    scores = torch.rand(300, generator=torch.Generator().manual_seed(1))
    is_class = scores > 0.7
    is_class[::3] = ~is_class[::3]
    curve = pr_curve(scores, is_class)
    for place in (0, 30, 70, 95):
        given = (scores >= place / 100).numpy()
        assert curve.precision[place] == pytest.approx(precision_score(is_class, given))
        assert curve.recall[place] == pytest.approx(recall_score(is_class, given))
        assert curve.true_positives[place] + curve.false_positives[place] == given.sum()
        assert curve.true_negatives[place] + curve.false_negatives[place] == 300 - given.sum()


def test_of_many_classes_the_worst_ten_have_curves(training: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[dict[str, Any]] = []

    def keep(path: Path, curves: dict[str, Any], **words: Any) -> None:
        notes.append({"curves": list(curves), **words})
        answers.roc_figure(path, curves, **words)

    monkeypatch.setattr("pipeline.monitoring.classes.roc_figure", keep)
    monkeypatch.setattr("pipeline.monitoring.classes._MOST_CURVES", 4)
    whole = training("digits", *CNN, "train.epochs=1")
    whole.run()
    assert len(notes[0]["curves"]) == 4
    assert notes[0]["note"] == "4 of 10 classes, lowest AUROC"
    (record,) = whole.collected.of("pr_curves")
    assert len(record.values) == 5
    assert "pr/micro" in record.values


def test_the_embedding_is_what_the_last_layer_is_given(training: Begin) -> None:
    whole = training("digits", *CNN, "monitor.embedding=true", "train.epochs=1")
    state = whole.run()
    (record,) = whole.collected.of("embedding")
    points = torch.from_numpy(np.load(whole.out / record.values["path"]))
    assert state.validated is not None
    outputs, targets = state.validated
    last = [module for module in state.net.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        torch.testing.assert_close(last(points), outputs)
    assert record.values["labels"] == [whole.parts.schema.classes[target] for target in targets.tolist()]


def test_the_conclusion_draws_three_pictures_and_records_settings_beside_the_best_numbers(training: Begin) -> None:
    whole = training("iris", "train.epochs=3")
    state = whole.run()
    conclude(
        whole.monitors,
        state,
        out=whole.out,
        tracker=whole.tracker,
        metric="accuracy",
        best_epoch=2,
        params={"train.lr": 0.1},
        title="iris",
    )
    assert sorted(path.name for path in (whole.out / "plots").iterdir()) == ["curves.png", "gradients.png", "metrics.png"]
    (record,) = whole.collected.of("hparams")
    assert record.values["params"] == {"train.lr": 0.1}
    assert record.values["metrics"]["val/loss"] == state.history[1]["val/loss"]
    (event,) = whole.collected.events("monitors_took")
    assert {"layers", "curves", "conclusion"} <= set(event["seconds"])
    assert whole.collected.events("monitor_failed") == []
