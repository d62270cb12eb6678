"""What a student learns from: losses as the papers write them, and a teacher that stays as it is."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifacts import Prepared
from pipeline.compression.distillation import Lesson, distilling, similarity_gap, taught, teacher_loss
from pipeline.config import Config, load
from pipeline.errors import UserError
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.interrupt import Interrupt
from pipeline.training.objective import Objective
from pipeline.training.retraining import retrain
from serving.schema import Task
from tests.made import images, prepared_of, table

TASKS: tuple[Task, ...] = ("classification", "multilabel", "regression")
NO_METRICS = lambda outputs, targets: {"width": float(outputs.shape[1])}  # noqa: E731


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Rows of a table with three classes, which follow from its columns."""
    inputs, labels, schema = table("multilabel")
    schema = msgspec.structs.replace(schema, task="classification", target="kind")
    return prepared_of(tmp_path_factory.mktemp("classes"), inputs, labels.sum(axis=1).astype(np.int64) % 3, schema)


@pytest.fixture(autouse=True)
def as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give threads and determinism of torch back, which trainings set."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def config(*words: str) -> Config:
    return load(None, ["model.hidden=[8]", "train.threads=1", "train.epochs=2", "train.lr=0.01", *words])


def teacher_for(parts: Assembly) -> nn.Module:
    """Return a network with batch normalization and dropout, wider than the student."""
    (width,) = parts.architecture.input_shape
    with torch.random.fork_rng():  # the training that follows draws what it would draw without a teacher
        torch.manual_seed(7)
        layers = (nn.Linear(width, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, parts.schema.outputs))
    return nn.Sequential(*layers).eval().requires_grad_(requires_grad=False)


def trained(parts: Assembly, folder: Path, settings: Config) -> list[dict[str, Any]]:
    folder.mkdir()
    tracker = Tracker("distill")
    return retrain(settings, parts, out=folder, source=None, tracker=tracker, interrupt=Interrupt()).history


def hidden(net: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the last layer of an `Mlp` is given, in eval mode."""
    layers = net.eval().get_submodule("layers")
    assert isinstance(layers, nn.Sequential)
    found: Tensor = layers[:-1](inputs)
    return found


def test_the_loss_of_classes_is_the_divergence_of_softened_answers_and_the_loss_of_the_targets() -> None:
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(0, 3, (2, 20, 4))
    targets = generator.integers(0, 4, 20)

    def soft(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
        powers = np.exp(logits / temperature)
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    p, q = soft(teacher, 3.0), soft(student, 3.0)
    divergence = (p * np.log(p / q)).sum(axis=1).mean()
    entropy = -np.log(soft(student, 1.0)[np.arange(20), targets]).mean()
    objective = distilling(
        Objective(nn.functional.cross_entropy, NO_METRICS), "classification", 4, Lesson(temperature=3.0, weight=0.6)
    )
    columns = torch.from_numpy(np.concatenate([student, teacher], axis=1))
    expected = 0.6 * 9.0 * divergence + 0.4 * entropy
    assert float(objective.loss(columns, torch.from_numpy(targets))) == pytest.approx(expected, rel=1e-9)


def test_the_loss_of_labels_is_the_divergence_of_yes_and_no_for_each_label() -> None:
    generator = np.random.default_rng(1)
    student, teacher = generator.normal(0, 3, (2, 20, 3))
    p, q = (1 / (1 + np.exp(-logits / 2.0)) for logits in (teacher, student))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    found = teacher_loss("multilabel", 2.0)(torch.from_numpy(student), torch.from_numpy(teacher))
    assert float(found) == pytest.approx(4.0 * divergence.mean(), rel=1e-9)


@pytest.mark.parametrize("values", [1, 2])
def test_the_loss_of_values_is_the_squared_distance_of_normalized_values_at_any_temperature(values: int) -> None:
    generator = np.random.default_rng(2)
    student, teacher = generator.normal(size=(2, 20, values))
    for temperature in (1.0, 4.0):
        found = teacher_loss("regression", temperature)(torch.from_numpy(student), torch.from_numpy(teacher))
        assert float(found) == pytest.approx(((student - teacher) ** 2).mean(), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(task=st.sampled_from(TASKS), temperature=st.floats(0.25, 20), spread=st.floats(0.01, 50), seed=st.integers(0, 999))
def test_answers_are_at_no_distance_from_themselves_and_at_some_from_any_others(
    task: Task, temperature: float, spread: float, seed: int
) -> None:
    student, teacher = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread
    distance = teacher_loss(task, temperature)
    assert float(distance(teacher, teacher)) == pytest.approx(0.0, abs=1e-9)
    assert float(distance(student, teacher)) > 0.0


def test_of_plain_outputs_the_objective_is_the_tasks_own_and_metrics_never_see_the_teacher() -> None:
    task = Objective(nn.functional.mse_loss, NO_METRICS)
    objective = distilling(task, "regression", 2, Lesson(temperature=4.0, weight=0.9, feature_weight=2.0))
    outputs, targets = torch.randn(2, 10, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(objective.loss(outputs, targets), task.loss(outputs, targets))
    assert objective.metrics(torch.cat([outputs, targets, targets[:, :1]], dim=1), targets) == {"width": 2.0}


def test_a_column_of_features_adds_its_weighted_mean_to_the_loss() -> None:
    task = Objective(nn.functional.mse_loss, NO_METRICS)
    columns, targets = torch.randn(10, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(10, 2)
    plain = distilling(task, "regression", 2, Lesson(1.0, 0.5)).loss(columns[:, :4], targets)
    both = distilling(task, "regression", 2, Lesson(1.0, 0.5, feature_weight=3.0)).loss(columns, targets)
    assert float(both - plain) == pytest.approx(3.0 * float(columns[:, 4].mean()), rel=1e-5)


def test_features_differ_as_the_paper_has_it() -> None:
    generator = np.random.default_rng(3)
    student, teacher = generator.normal(size=(8, 3)), generator.normal(size=(8, 5))
    likeness = [features @ features.T for features in (student, teacher)]
    own, given = (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)) for rows in likeness)
    found = similarity_gap(torch.from_numpy(student), torch.from_numpy(teacher)).mean()
    assert float(found) == pytest.approx(((own - given) ** 2).sum() / 8**2, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100))
def test_rows_that_are_as_alike_have_no_gap_however_features_are_turned_and_scaled(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(6, 4, generator=generator, dtype=torch.float64))  # (6, 4), orthonormal columns
    assert similarity_gap(features, scale * features @ turn.T).max() < 1e-20


def test_a_row_without_features_has_a_gap_but_no_gradient_that_explodes() -> None:
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    features[2] = 0.0
    features.requires_grad_()
    similarity_gap(features, torch.eye(5)).mean().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() < 10


@pytest.mark.parametrize("feature_weight", [0.0, 5.0])
def test_gradients_reach_the_student_alone_and_the_teacher_stays_bit_for_bit(
    prepared: Prepared, tmp_path: Path, feature_weight: float
) -> None:
    settings = config()
    parts = assemble(settings, prepared)
    teacher = teacher_for(parts)
    before = copy.deepcopy(teacher.state_dict())
    weights = parts.state.flat.weights.clone()
    with_teacher = taught(parts, teacher, Lesson(4.0, 1.0, feature_weight))
    history = trained(with_teacher, tmp_path / "out", settings)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert parts.state.flat.weights.numel() == weights.numel() == sum(p.numel() for p in parts.state.net.parameters())
    assert not torch.equal(parts.state.flat.weights, weights)
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    last = torch.load(tmp_path / "out" / "last.pt", weights_only=True)
    assert set(last["fit"]["weights"]) == set(parts.state.net.state_dict())
    assert not [layer for layer in parts.state.net.modules() if layer._forward_pre_hooks]


def test_with_features_the_students_rows_become_as_alike_as_the_teachers(prepared: Prepared, tmp_path: Path) -> None:
    gaps = []
    for weight in (0.0, 100.0):
        settings = config("train.epochs=6", "train.early_stopping.patience=null")
        parts = assemble(settings, prepared)
        teacher = teacher_for(parts)
        trained(taught(parts, teacher, Lesson(1.0, 0.0, weight)), tmp_path / str(weight), settings)
        inputs = next(parts.rows.validation.in_order())[0]
        gap = similarity_gap(hidden(parts.state.net, inputs), teacher[:-1](inputs))  # type: ignore[index]
        gaps.append(float(gap.mean().detach()))
    assert gaps[1] < 0.8 * gaps[0]


def test_features_are_read_where_the_layer_that_computes_last_takes_them(prepared: Prepared) -> None:
    class Backward(nn.Module):
        """Names its layers in another order than it calls them."""

        def __init__(self, width: int, outputs: int) -> None:
            super().__init__()
            self.last = nn.Linear(12, outputs)
            self.first = nn.Linear(width, 12)

        def forward(self, rows: Tensor) -> Tensor:
            answers: Tensor = self.last(self.first(rows).relu())
            return answers

    parts = assemble(config(), prepared)
    (width,) = parts.architecture.input_shape
    teacher = Backward(width, parts.schema.outputs).eval()
    forward = taught(parts, teacher, Lesson(1.0, 0.5, 1.0)).state.forward
    inputs = next(parts.rows.validation.in_order())[0]
    net = parts.state.net.eval()
    assert forward is not None
    columns = forward(inputs)
    expected = similarity_gap(hidden(net, inputs), teacher.first(inputs).relu())
    torch.testing.assert_close(columns, torch.cat([net(inputs), teacher(inputs), expected.unsqueeze(1)], dim=1))


def test_a_network_without_a_fully_connected_layer_is_refused_where_features_count(prepared: Prepared) -> None:
    parts = assemble(config(), prepared)
    (width,) = parts.architecture.input_shape
    teacher = nn.Sequential(nn.Unflatten(1, (1, width)), nn.Conv1d(1, parts.schema.outputs, width), nn.Flatten())
    forward = taught(parts, teacher, Lesson(1.0, 0.5, 1.0)).state.forward
    assert forward is not None
    with pytest.raises(UserError, match=r"distill.feature_weight: the network of distill.teacher has no fully connected layer"):
        forward(torch.randn(4, width))


def test_a_compiled_student_is_called_as_compiled(prepared: Prepared) -> None:
    parts = assemble(config(), prepared)
    calls: list[int] = []

    def compiled(rows: Tensor) -> Tensor:
        calls.append(len(rows))
        found: Tensor = parts.state.net(rows)
        return found

    parts.state.forward = compiled
    teacher = teacher_for(parts)
    forward = taught(parts, teacher, Lesson(1.0, 0.5)).state.forward
    assert forward is not None
    assert forward(torch.randn(4, *parts.architecture.input_shape)).shape == (4, 2 * parts.schema.outputs)
    assert calls == [4]


def test_a_teacher_that_writes_into_its_rows_does_not_change_the_students(prepared: Prepared) -> None:
    class Writes(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows.zero_()[:, :1].expand(-1, 3)

    parts = assemble(config("model={name: mlp, hidden: [8]}"), prepared)
    forward = taught(parts, Writes(), Lesson(1.0, 0.5)).state.forward
    inputs = torch.randn(4, *parts.architecture.input_shape)
    assert forward is not None
    assert torch.equal(forward(inputs)[:, :3], parts.state.net(inputs))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("train.in_memory=false",),
        ("augment.mixup_alpha=0.4",),
        ("train.ema_decay=0.9", "model.dropout=0.3"),
        ("train.accumulate=3", "train.clip_norm=1.0"),
        ("train.precision=bf16",),
    ],
    ids=lambda words: " ".join(words) or "plain",
)
def test_a_teacher_without_weight_leaves_any_training_bit_for_bit_as_it_is(
    prepared: Prepared, tmp_path: Path, words: tuple[str, ...]
) -> None:
    settings = config(*words)
    alone = trained(assemble(settings, prepared), tmp_path / "alone", settings)
    parts = assemble(settings, prepared)
    beside = trained(taught(parts, teacher_for(parts), Lesson(4.0, 0.0)), tmp_path / "beside", settings)
    for one, other in zip(alone, beside, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert (tmp_path / "alone" / "best.pt").read_bytes() == (tmp_path / "beside" / "best.pt").read_bytes()


def test_a_step_in_parts_is_the_same_step_with_a_teacher_too(prepared: Prepared, tmp_path: Path) -> None:
    found = []
    for count in (1, 4):
        settings = config(f"train.accumulate={count}")
        parts = assemble(settings, prepared)
        found.append(trained(taught(parts, teacher_for(parts), Lesson(2.0, 0.7)), tmp_path / str(count), settings))
    for one, other in zip(*found, strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-4)
        assert one["val/loss"] == pytest.approx(other["val/loss"], rel=1e-4)


def test_images_keep_their_memory_order_and_a_convolutional_teacher_teaches_features(tmp_path: Path) -> None:
    made = prepared_of(tmp_path, *images())
    words = ("model={name: cnn, channels: [4], hidden: 8, dropout: 0.0}", "train.batch_size=16", "train.precision=bf16")
    settings = load(None, ["train.threads=1", "train.epochs=4", "train.lr=0.01", *words])
    teacher = copy.deepcopy(assemble(settings, made).state.net).eval().requires_grad_(requires_grad=False)
    parts = assemble(load(None, ["seed=5", "train.threads=1", *words]), made)
    history = trained(taught(parts, teacher, Lesson(2.0, 1.0, 1.0)), tmp_path / "out", settings)
    assert history[-1]["train/loss"] < 0.5 * history[0]["train/loss"]
    (kernel, *_) = (p for p in parts.state.net.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
