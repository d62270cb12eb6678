"""Pictures are readable: nothing is cut off, nothing lies over something else, and marks say what they mark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from pipeline.reporting import answers, figures, history
from pipeline.reporting.answers import images_figure, labels_figure, predicted_figure, roc_figure
from pipeline.reporting.figures import confusion_figure, curves_figure, residual_figure
from pipeline.reporting.history import gradients_figure, metrics_figure

Draw = Callable[..., Figure]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Draw a picture, see that it was written, and return it as matplotlib has it."""
    kept: list[Figure] = []
    save = figures.save

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        save(figure, path)

    for module in (figures, answers, history):
        monkeypatch.setattr(module, "save", keep)

    def draw(picture: Callable[..., None], *args: Any, **words: Any) -> Figure:
        path = tmp_path / "picture.png"
        picture(path, *args, **words)
        with Image.open(path) as written:
            assert max(written.size) < 2000
        return kept[-1]

    return draw


def texts(figure: Figure) -> list[tuple[Text, Any]]:
    """Every text that is drawn, with its box in pixels; tick labels outside of an axis exist, but are not drawn."""
    found: list[Text] = []
    plain = Text.draw

    def draw(text: Text, *args: Any, **words: Any) -> None:
        plain(text, *args, **words)
        if text.get_text().strip():
            found.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    return [(text, text.get_window_extent()) for text in found]


def assert_readable(figure: Figure) -> None:
    """No text leaves the picture, and no two that are upright or level cross."""
    level, width, height = [], figure.bbox.width, figure.bbox.height
    for text, box in texts(figure):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} leaves the picture"
        if text.get_rotation() in (0, 90):
            level.append((text.get_text(), box))
    assert len(level) >= 2
    for index, (first, box) in enumerate(level):
        for second, other in level[index + 1 :]:
            crosses = min(box.x1, other.x1) - max(box.x0, other.x0) > 1 and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
            assert not crosses, f"{first!r} lies over {second!r}"


NAMES = {
    3: ["setosa", "versicolor", "virginica"],
    10: [str(digit) for digit in range(10)],
    20: [f"class number {index} has a long name" for index in range(20)],
    50: [f"class number {index}" for index in range(50)],
    120: [f"n{index:05}" for index in range(120)],
}


@pytest.mark.parametrize("count", NAMES)
def test_a_confusion_matrix_is_readable_with_few_and_with_many_classes(drawn: Draw, count: int) -> None:
    generator = np.random.default_rng(0)
    matrix = generator.poisson(0.5, (count, count)) + 20 * np.eye(count, dtype=np.int64)
    figure = drawn(confusion_figure, matrix, NAMES[count], title="validation rows, epoch 12")
    assert_readable(figure)
    counts = len(figure.axes[0].texts)
    assert counts == (np.count_nonzero(matrix) if count <= 25 else 0)
    assert len(figure.axes[0].get_xticklabels()) == (count if count <= 50 else 40)


HISTORY = [
    {
        "epoch": epoch,
        "lr": 1e-3 / epoch,
        "seconds": 0.1,
        "train/grad_norm": 2.0 / epoch,
        **{
            f"{split}/{name}": 1.0 / epoch for split in ("train", "val") for name in ("loss", "accuracy", "f1", "auroc", "top5")
        },
    }
    for epoch in range(1, 31)
]
MARKS: dict[str, Any] = {"title": "digits", "best_epoch": 20, "stopped": "early_stopping"}


def legends(figure: Figure) -> set[str]:
    boxes = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return {text.get_text() for box in boxes if box is not None for text in box.get_texts()}


def test_curves_mark_the_best_epoch_and_the_last_with_its_reason(drawn: Draw) -> None:
    figure = drawn(curves_figure, HISTORY, metric="accuracy", **MARKS)
    assert_readable(figure)
    assert {"best epoch: 20", "ended after epoch 30: early_stopping"} <= legends(figure)
    for axes in figure.axes:
        assert {20.0, 30.0} <= {float(line.get_xdata()[0]) for line in axes.get_lines() if len(line.get_xdata()) == 2}  # type: ignore[arg-type,index]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_every_metric_has_a_panel_with_both_splits(drawn: Draw, epochs: int) -> None:
    figure = drawn(metrics_figure, HISTORY[:epochs], **(MARKS | {"best_epoch": 1}))
    assert_readable(figure)
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == ["loss", "grad_norm", "accuracy", "f1", "auroc", "top5", "learning rate"]
    assert {"train", "val", "best epoch: 1", f"ended after epoch {epochs}: early_stopping"} == legends(figure)


def test_numbers_that_are_none_are_gaps(drawn: Draw) -> None:
    holes: list[dict[str, Any]] = [{**line, "val/auroc": None if line["epoch"] % 2 else float("inf")} for line in HISTORY]
    drawn(metrics_figure, holes, **MARKS)


@pytest.mark.parametrize("count", [1, 8, 16, 17, 62, 200])
def test_gradients_are_readable_with_few_and_with_many_layers(drawn: Draw, count: int) -> None:
    generator = np.random.default_rng(0)
    norms = {f"features.{index}.a_block.layers.weight": 10.0 ** generator.normal(-2, 0.5, 30) for index in range(count)}
    norms["features.0.a_block.layers.weight"][3:5] = [0.0, np.nan]
    ratios = {name: values / 10 for name, values in norms.items()}
    figure = drawn(gradients_figure, list(range(1, 31)), norms, ratios, **MARKS)
    assert_readable(figure)
    if count <= 16:
        assert len([label for label in legends(figure) if "layers.weight" in label]) == count
        assert "update ratio 1e-3" in legends(figure)
        assert all(axes.get_yscale() == "log" for axes in figure.axes)


def test_roc_curves_stand_beside_their_legend(drawn: Draw) -> None:
    curves = {f"a class of a long name, number {index} (0.9)": ([0.0, 0.2, 1.0], [0.0, 0.7, 1.0]) for index in range(10)}
    assert_readable(drawn(roc_figure, curves, title="validation rows, epoch 3", note="10 of 50 classes, lowest AUROC"))


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 8), (5, 8, 8)])
@pytest.mark.parametrize("count", [1, 8, 12])
def test_images_have_their_words_above_them(drawn: Draw, shape: tuple[int, ...], count: int) -> None:
    images = np.random.default_rng(0).random((count, *shape))
    words = ["a long class name that\n→ another long class name\n88%"] * count
    figure = drawn(images_figure, images, words, limits=(0.0, 1.0), title="true → predicted, epoch 5: 12 of 270 rows are wrong")
    assert_readable(figure)
    assert len(figure.axes[0].images) == count


def test_values_are_drawn_over_their_predictions(drawn: Draw) -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(150, 70, (20_000, 1))
    predicted = true + generator.normal(0, 30, true.shape)
    for picture in (residual_figure, predicted_figure):
        figure = drawn(picture, predicted, true, names=["progression"], title="validation rows, epoch 3")
        assert_readable(figure)
        (points,) = figure.axes[0].collections
        assert len(points.get_offsets()) == 5000  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 3, 4, 6, 9])
def test_several_values_have_a_panel_each_up_to_six(drawn: Draw, count: int) -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(150, 70, (50, count))
    names = [f"a value of a very long name, number {index}" for index in range(count)]
    for picture in (residual_figure, predicted_figure):
        figure = drawn(picture, true + 1, true, names=names, title="validation rows, epoch 3")
        assert_readable(figure)
        assert len([axes for axes in figure.axes if axes.axison]) == min(count, 6)
        assert ("the first 6 of 9 outputs" in figure.get_suptitle()) is (count == 9)


@pytest.mark.parametrize("count", [1, 3, 20, 50])
def test_each_label_has_its_bars_and_of_many_the_worst_are_shown(drawn: Draw, count: int) -> None:
    shares = {name: np.linspace(0.0, 1.0, count).tolist() for name in ("precision", "recall", "f1")}
    labels = [f"a label of a long name, number {index}" for index in range(count)]
    figure = drawn(labels_figure, shares, labels, title="validation rows, epoch 3")
    assert_readable(figure)
    (axes,) = figure.axes
    assert len(axes.patches) == 3 * min(count, 30)
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == figures.shortened(labels[0]), "the first one on top"
    assert legends(figure) == {"precision", "recall", "f1"}
    assert ("30 of 50 labels, lowest F1" in axes.get_title()) is (count == 50)
