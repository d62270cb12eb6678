"""The one loop: it learns, it repeats itself exactly, it tells its hooks, and it stops at the first number that is none."""

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.train_sections import OptimizerConfig, ScheduleConfig, TrainConfig
from pipeline.errors import NonFiniteLoss
from pipeline.metrics.tasks import classification_metrics
from pipeline.training import FitState, fit
from pipeline.training.batches import InMemory
from pipeline.training.begin import begin
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.hooks import MOMENTS, Hook
from pipeline.training.objective import Objective
from pipeline.training.optimizers import Update
from pipeline.training.step import StepOptions

METRICS = ("cross_entropy", "accuracy", "precision", "recall", "f1", "tpr", "fpr")


def rows(count: int, seed: int = 0, batch_size: int = 16) -> InMemory:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return InMemory(inputs, (inputs.sum(dim=1) > 0).long(), batch_size)


OBJECTIVE = Objective(nn.functional.cross_entropy, lambda logits, targets: classification_metrics(logits.softmax(1), targets))


def train(*hooks: Hook, data: InMemory | None = None, epochs: int = 4, seed: int = 0, **options: Any) -> FitState:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    fit_options = {name: options.pop(name) for name in ("nonfinite", "options", "measured") if name in options}
    state = begin(net, TrainConfig(**{"epochs": epochs, "lr": 1e-2} | options))
    return fit(state, data or rows(200), rows(50, 1), OBJECTIVE, seed=seed, hooks=hooks, **fit_options)


def test_the_loss_falls_and_the_validation_rows_are_learned() -> None:
    state = train(epochs=15)
    assert state.history[-1]["train/loss"] < 0.5 * state.history[0]["train/loss"]
    assert state.history[-1]["val/accuracy"] > 0.9
    assert state.stop == "epochs"


def test_each_epoch_has_the_documented_numbers() -> None:
    for index, line in enumerate(train().history):
        assert line["epoch"] == index + 1
        names = {f"{split}/{name}" for split in ("train", "val") for name in ("loss", *METRICS)}
        assert set(line) == names | {"epoch", "lr", "seconds", "train/grad_norm"}


def test_train_rows_can_be_measured_again_when_the_weights_stand_still() -> None:
    line = train(epochs=1, measured=rows(200)).history[0]
    again = {name for name in line if name.startswith("train_eval/")}
    assert again == {f"train_eval/{name}" for name in ("loss", *METRICS)}
    assert line["train_eval/loss"] < line["train/loss"], "after the epoch, without dropout"


@pytest.mark.parametrize("packed_at", [1, 3, 5, 13])
def test_an_epoch_of_many_batches_is_packed_and_its_numbers_are_the_same(
    packed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(epochs=2)
    monkeypatch.setattr("pipeline.training.state._PACKED_AT", packed_at)
    found = train(epochs=2)
    for line, other in zip(found.history, expected.history, strict=True):
        assert {**line, "seconds": 0} == {**other, "seconds": 0}
    assert len(found.done.losses) < packed_at
    assert len(found.done.per_batch()[0]) == 13


def test_one_seed_gives_bit_identical_weights_and_another_seed_others() -> None:
    first, again, other = (train(seed=seed).net.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


class Recorder(Hook):
    """Notes each moment."""

    def __init__(self) -> None:
        self.seen: list[str] = []


def note(moment: str) -> Callable[[Recorder, FitState], None]:
    return lambda recorder, state: recorder.seen.append(moment)


for moment in MOMENTS:
    setattr(Recorder, moment, note(moment))


def test_hooks_are_told_the_seven_moments_in_order() -> None:
    assert len(MOMENTS) == 7
    recorder = Recorder()
    train(recorder, data=rows(20), epochs=2)
    batch = ["on_batch_start", "on_gradients", "on_batch_end"]
    epoch = ["on_epoch_start", *batch, *batch, "on_epoch_end"]
    assert recorder.seen == ["on_fit_start", *epoch, *epoch, "on_fit_end"]


class Stop(Hook):
    def on_epoch_end(self, state: FitState) -> None:
        state.stop = "enough"


def test_a_hook_ends_training_after_the_epoch() -> None:
    state = train(Stop(), epochs=9)
    assert (state.epoch, state.stop) == (1, "enough")


class LargestGradient(Hook):
    value = 0.0

    def on_gradients(self, state: FitState) -> None:
        norms = [p.grad.norm() for p in state.net.parameters() if p.grad is not None]
        self.value = max(self.value, float(torch.stack(norms).norm()))


def test_clipping_bounds_the_global_norm_and_the_history_keeps_the_norm_before_it() -> None:
    largest = LargestGradient()
    state = train(largest, options=StepOptions(clip_norm=0.05))
    assert largest.value <= 0.05 + 1e-6
    assert state.history[0]["train/grad_norm"] > 0.05


def test_a_loss_that_is_no_number_stops_with_the_step_the_layer_and_the_rows() -> None:
    data = rows(40, batch_size=8)
    data.inputs[5] = torch.nan
    expected = r"epoch 1, step \d of 5: loss nan.*first in the output of layer '0' \(Linear\); train rows of the batch:.*\b5\b"
    with pytest.raises(NonFiniteLoss, match=expected) as caught:
        train(data=data)
    assert caught.value.exit_code == 4


def test_steps_that_are_not_finite_can_be_left_out_and_are_counted() -> None:
    data = rows(40, batch_size=8)
    data.inputs[5] = torch.nan
    state = train(data=data, nonfinite="skip", epochs=3)
    assert [line["train/skipped_steps"] for line in state.history] == [1, 1, 1]
    assert all(math.isfinite(line["train/loss"]) and math.isfinite(line["val/loss"]) for line in state.history)
    assert all(bool(torch.isfinite(p).all()) for p in state.net.parameters())


def test_train_loss_is_the_mean_over_rows_even_when_the_last_batch_is_small() -> None:
    data, net = rows(18), nn.Linear(4, 2)  # batches of 16 and 2
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(net(data.inputs), data.targets))
    state = fit(begin(net, TrainConfig(epochs=1, lr=1e-15)), data, rows(5), OBJECTIVE, seed=0)
    assert state.history[0]["train/loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleConfig(name="constant"), [1.0, 1.0, 1.0, 1.0]),
        (ScheduleConfig(name="step", step_epochs=2, factor=0.1), [1.0, 1.0, 0.1, 0.1]),
        (ScheduleConfig(name="cosine"), [1.0, 0.853553, 0.5, 0.146447]),
        (ScheduleConfig(name="plateau", plateau_patience=0, factor=0.5), None),
    ],
)
def test_schedules_change_the_learning_rate_once_an_epoch(schedule: ScheduleConfig, expected: list[float] | None) -> None:
    rates = [line["lr"] / 1e-2 for line in train(schedule=schedule).history]
    if expected is None:
        assert rates[0] == 1
        assert sorted(rates, reverse=True) == rates
    else:
        assert rates == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_decays_weight_matrices_and_spares_biases(name: Any) -> None:
    net = nn.Linear(3, 2, bias=True)
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()
    state = begin(net, TrainConfig(lr=0.1, optimizer=OptimizerConfig(name=name, weight_decay=0.5)))
    state.optimizer.step()  # gradients are 0: what changes, decays
    assert not torch.equal(net.weight, weight)
    assert torch.equal(net.bias, bias)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_the_short_way_to_a_step_gives_what_the_optimizer_gives(name: Any) -> None:
    def trained(momentum: float, *, short: bool) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        config = OptimizerConfig(name=name, weight_decay=0.1, momentum=momentum)
        state = begin(net, TrainConfig(lr=0.05, optimizer=config))
        step = Update(state.optimizer) if short else state.optimizer.step
        for index in range(6):
            state.flat.gradients.normal_(generator=torch.Generator().manual_seed(index))
            if index == 3:  # the learning rate changes, and a resume brings new state
                state.optimizer.param_groups[0]["lr"] = 0.01
                state.optimizer.load_state_dict(copy.deepcopy(state.optimizer.state_dict()))
            step()
        return state.flat.weights.clone()

    for momentum in (0.0, 0.9):
        assert torch.equal(trained(momentum, short=True), trained(momentum, short=False))


@pytest.mark.parametrize(("count", "size", "sizes"), [(5, 2, [2, 3]), (6, 4, [4, 2]), (3, 8, [3]), (1, 1, [1])])
def test_no_batch_has_a_single_row_unless_it_is_the_only_one(count: int, size: int, sizes: list[int]) -> None:
    data = rows(count, batch_size=size)
    assert [len(inputs) for inputs, _ in data.shuffled(seed=0, epoch=1)] == sizes
    assert len(data) == len(sizes)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    data = rows(100)

    def order(seed: int, epoch: int) -> list[int]:
        torch.manual_seed(epoch)  # what else was drawn must not matter
        numbers = [data.rows_of(seed=seed, epoch=epoch, batch=batch).tolist() for batch in range(len(data))]
        assert all(
            torch.equal(inputs, data.inputs[rows])
            for (inputs, _), rows in zip(data.shuffled(seed=seed, epoch=epoch), numbers, strict=True)
        )
        return list(itertools.chain.from_iterable(numbers))

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    assert sorted(order(0, 3)) == list(range(100))


def test_early_stopping_ends_the_fit_and_names_itself() -> None:
    stopping = EarlyStopping("val/loss", patience=2, min_delta=10.0)
    state = train(stopping, epochs=20)
    assert (state.stop, state.epoch, stopping.best_epoch) == ("early_stopping", 3, 3)
