"""A training that is interrupted anywhere and resumed ends as if it had been left alone."""

import errno
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config.train_sections import OptimizerConfig, ScheduleConfig, TrainConfig
from pipeline.errors import Interrupted, UserError
from pipeline.resume_check import first_difference
from pipeline.training import FitState, fit
from pipeline.training.begin import begin
from pipeline.training.checkpoint import Checkpoints, load_last
from pipeline.training.early_stopping import EarlyStopping
from pipeline.training.hooks import Hook
from pipeline.training.interrupt import Interrupt
from pipeline.training.randomness import seed_everything
from pipeline.training.setup import make_reproducible
from pipeline.training.state import EpochSoFar
from pipeline.training.step import StepOptions
from tests.training.test_checkpoint import ARCHITECTURE
from tests.training.test_loop import OBJECTIVE, rows

EPOCHS, STEPS = 3, 7
SCHEDULES = get_args(ScheduleConfig.model_fields["name"].annotation)


class StopAt(Hook):
    """Asks for an end after a step, as a signal does."""

    def __init__(self, step: int, interrupt: Interrupt) -> None:
        self.step, self.interrupt = step, interrupt

    def on_batch_end(self, state: FitState) -> None:
        if state.step == self.step:
            self.interrupt.signal = "SIGTERM"


def parts(folder: Path, **options: Any) -> tuple[FitState, EarlyStopping, Checkpoints, Interrupt]:
    autocast = {"fp16": torch.float16}.get(options.get("precision", ""))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
    parts = options.get("accumulate", 1)
    state = begin(net, TrainConfig(epochs=EPOCHS, lr=0.05, **options), autocast=autocast, parts=parts)
    stopping, interrupt = EarlyStopping("val/loss", patience=5, min_delta=0), Interrupt()
    return state, stopping, Checkpoints(folder, ARCHITECTURE, stopping, every_s=0, keep_top=2, interrupt=interrupt), interrupt


class Draws(Hook):
    """Draws random numbers from everywhere, and lets them change the weights, as a user's model may."""

    def on_gradients(self, state: FitState) -> None:
        drawn = torch.rand(1).item() + float(np.random.rand()) + random.random()  # noqa: NPY002
        state.flat.gradients.mul_(1 + drawn)


def train(folder: Path, *, stop_at: int = 0, resume: bool = False, **options: Any) -> FitState:
    make_reproducible(0)
    state, stopping, checkpoints, interrupt = parts(folder, **options)
    if resume:
        last, _ = load_last(folder)
        stopping.load_state_dict(last["early_stopping"])
        checkpoints.load_state_dict(last)
        seed_everything(12345)  # whatever happened before must not matter
        state.load_state_dict(last["fit"])
    hooks = [Draws(), stopping, StopAt(stop_at, interrupt), checkpoints]
    data = rows(STEPS * 8, batch_size=8)
    if options.get("sampling") == "balanced":
        data = replace(data, weights=1.0 / torch.bincount(data.targets)[data.targets])
    autocast = torch.float16 if options.get("precision") == "fp16" else None
    return fit(state, data, rows(20, 1), OBJECTIVE, seed=0, options=StepOptions(autocast=autocast), hooks=hooks)


@pytest.mark.parametrize("stop_at", [1, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS + 3, EPOCHS * STEPS])
def test_an_interruption_after_any_step_changes_no_bit(tmp_path: Path, stop_at: int) -> None:
    for name in ("alone", "resumed"):
        (tmp_path / name).mkdir()
    alone = train(tmp_path / "alone")
    with pytest.raises(Interrupted, match=f"stopped by SIGTERM in epoch .* after step {stop_at}, which is saved; go on with"):
        train(tmp_path / "resumed", stop_at=stop_at)
    resumed = train(tmp_path / "resumed", resume=True)
    assert first_difference(alone.state_dict(), resumed.state_dict()) is None
    assert (tmp_path / "alone" / "best.pt").read_bytes() == (tmp_path / "resumed" / "best.pt").read_bytes()


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_goes_on_where_it_was(tmp_path: Path, name: Any) -> None:
    schedule = ScheduleConfig(name=name, step_epochs=1, milestones=(1,), plateau_patience=0, warmup_epochs=1.2)
    options: dict[str, Any] = {"schedule": schedule}
    alone = train(tmp_path, **options)
    with pytest.raises(Interrupted):
        train(tmp_path, stop_at=10, **options)
    assert first_difference(alone.history, train(tmp_path, resume=True, **options).history) is None


@pytest.mark.parametrize(
    "options",
    [
        {"ema_decay": 0.9},
        {"precision": "fp16"},
        {"sampling": "balanced"},
        {"accumulate": 3},
        {"optimizer": OptimizerConfig(name="sgd")},
        {"optimizer": OptimizerConfig(name="rmsprop")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_everything_that_changes_weights_goes_on_where_it_was(tmp_path: Path, options: dict[str, Any]) -> None:
    for name in ("alone", "resumed"):
        (tmp_path / name).mkdir()
    alone = train(tmp_path / "alone", **options)
    with pytest.raises(Interrupted):
        train(tmp_path / "resumed", stop_at=STEPS + 3, **options)
    resumed = train(tmp_path / "resumed", resume=True, **options)
    assert first_difference(alone.state_dict(), resumed.state_dict()) is None
    files = [
        sorted((path.relative_to(folder), path.read_bytes()) for path in folder.rglob("*.pt") if path.name != "last.pt")
        for folder in (tmp_path / "alone", tmp_path / "resumed")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 3, "best, and two top epochs"


def interrupted(folder: Path) -> Path:
    with pytest.raises(Interrupted):
        train(folder, stop_at=9)
    return folder


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_why(tmp_path: Path) -> None:
    last = interrupted(tmp_path) / "last.pt"
    newest, _ = load_last(tmp_path)
    payload = bytearray(last.read_bytes())
    payload[len(payload) // 2] ^= 1
    last.write_bytes(payload)
    content, reason = load_last(tmp_path)
    assert newest["fit"]["step"] == 9
    assert content["fit"]["step"] < 9 or content["fit"]["batch"] != newest["fit"]["batch"]
    assert reason is not None
    assert "last.pt is damaged: its sha256" in reason
    alone = tmp_path / "alone"
    alone.mkdir()
    assert first_difference(train(alone).state_dict(), train(tmp_path, resume=True).state_dict()) is None


def test_with_both_checkpoints_damaged_there_is_nothing_to_resume_from(tmp_path: Path) -> None:
    interrupted(tmp_path)
    (tmp_path / "last.pt").write_bytes(b"")
    (tmp_path / "previous.pt").unlink()
    with pytest.raises(UserError, match="nothing to resume from: last.pt is damaged.*; previous.pt is missing"):
        load_last(tmp_path)


def test_a_full_disk_is_an_error_with_the_files_name_and_the_earlier_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path)
    before = load_last(tmp_path)[0]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    state, _, checkpoints, _ = parts(tmp_path)
    state.so_far = EpochSoFar()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            checkpoints.write(state)
    assert str(caught.value.filename).endswith("last.pt")
    assert first_difference(before, load_last(tmp_path)[0]) is None


def test_a_ledger_line_that_was_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with (tmp_path / "checkpoints.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"sha256": "ab"})[:-3])
    assert load_last(tmp_path)[1] is None


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"a": [1, {"b": torch.tensor([1.0])}]}, {"a": [1, {"b": torch.tensor([1.5])}]}, "a.1.b: the tensors differ"),
        ({"a": 1.0}, {"a": 1}, "a: 1.0 alone, 1 after kills"),
        ({"a": 1}, {}, "a: 1 alone, None after kills"),
        ([1, 2], [1], ": [1, 2] alone, [1] after kills"),
        ({"seconds": 1, "x": float("nan")}, {"seconds": 2, "x": float("nan")}, None),
    ],
)
def test_the_first_difference_is_named(one: Any, other: Any, path: str | None) -> None:
    assert first_difference(one, other) == path
