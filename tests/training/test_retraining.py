"""Trainings beside the one of `train`: the same loop, files that are whole, and a network that is what its epoch scored."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.artifacts import Prepared
from pipeline.config import Config, load
from pipeline.config.model_sections import CnnConfig
from pipeline.config.train_sections import ScheduleConfig, TrainConfig
from pipeline.errors import GateRefused, Interrupted
from pipeline.runner import Scoped
from pipeline.stages import stage_named
from pipeline.tracking import Tracker
from pipeline.training import FitState
from pipeline.training.assembly import assemble
from pipeline.training.hooks import Hook
from pipeline.training.interrupt import Interrupt
from pipeline.training.loop import measure
from pipeline.training.retraining import Retrained, retimed, retrain, varied
from pipeline.training.schedules import build_schedule
from tests.made import prepared_of, table

RESTLESS = b"""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer, self.calls = nn.Linear(input_shape[0], outputs), 0

    def forward(self, rows):
        self.calls += 1
        return self.layer(rows) + 0.1 * self.calls
"""


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    threads = torch.get_num_threads()
    yield prepared_of(tmp_path, *table("multilabel"))
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def config(*words: str) -> Config:
    return load(None, ["model.hidden=[8]", "train.threads=1", "train.epochs=6", "train.lr=0.03", *words])


def retrained(settings: Config, prepared: Prepared, out: Path, *hooks: Hook, source: bytes | None = None) -> Retrained:
    out.mkdir()
    parts, tracker = assemble(settings, prepared, source=source), Tracker("distill")
    return retrain(settings, parts, out=out, source=source, tracker=tracker, interrupt=Interrupt(), hooks=hooks)


def test_the_network_is_that_of_the_best_epoch_and_scores_what_the_history_says(prepared: Prepared, tmp_path: Path) -> None:
    settings = config("train.lr=0.5", "train.schedule.name=constant")  # too high: the last epoch is not the best
    found = retrained(settings, prepared, tmp_path / "out")
    losses = [line["val/loss"] for line in found.history]
    assert losses.index(min(losses)) + 1 == found.best_epoch < len(losses)
    parts = assemble(settings, prepared)
    assert measure(found.net, parts.rows.validation, parts.objective) == found.validation
    assert {
        f"val/{name}": pytest.approx(value, rel=1e-4) for name, value in found.validation.items()
    }.items() <= found.best.items()
    assert not found.net.training
    written = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert written == found.history
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"best.pt", "last.pt", "history.jsonl", "checkpoints.jsonl"}


def test_a_network_whose_answers_depend_on_more_than_its_rows_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    settings = config("model={name: custom, file: net.py, class: Net}")
    with pytest.raises(GateRefused, match=r"distill: best.pt, read back, has val/loss .*; look for random numbers in eval"):
        retrained(settings, prepared, tmp_path / "out", source=RESTLESS)


def test_a_signal_ends_it_with_words_of_the_stage_that_trains(prepared: Prepared, tmp_path: Path) -> None:
    interrupt = Interrupt()

    class Signal(Hook):
        def on_batch_end(self, state: FitState) -> None:
            interrupt.signal = "SIGTERM"

    settings = config()
    parts = assemble(settings, prepared)
    with pytest.raises(Interrupted, match=r"^distill: stopped by SIGTERM; give the command again to start it anew$"):
        retrain(settings, parts, out=tmp_path, source=None, tracker=Tracker("distill"), interrupt=interrupt, hooks=[Signal()])
    assert parts.state.step == 1


def test_own_hooks_act_before_those_that_judge(prepared: Prepared, tmp_path: Path) -> None:
    class Stop(Hook):
        def on_epoch_end(self, state: FitState) -> None:
            state.history[-1]["val/loss"] = measured[state.epoch - 1]

    measured = [0.5, 0.1, 0.3, 0.3, 0.3, 0.3]
    with pytest.raises(GateRefused, match=r"and epoch 2 had 0.1: "):
        retrained(config(), prepared, tmp_path / "out", Stop())


def test_a_stage_sees_its_own_sections_with_some_replaced_and_no_others(prepared: Prepared) -> None:
    scoped: Any = Scoped(config(), stage_named("distill"))
    changed = varied(scoped, model=CnnConfig(channels=(4,)), train=retimed(scoped.train, epochs=2, lr=0.5))
    assert changed.section("model") == {"name": "cnn", "channels": [4], "hidden": 128, "dropout": 0.3}
    assert (changed.train.epochs, changed.train.lr, changed.section("train")["epochs"]) == (2, 0.5, 2)
    assert changed.seed == scoped.seed
    assert changed.section("augment") == scoped.section("augment")
    with pytest.raises(AttributeError, match=r"stage distill reads config.serve"):
        _ = changed.serve


def test_dates_keep_their_share_of_the_epochs_and_what_a_stage_has_not_is_as_in_train() -> None:
    schedule = {"warmup_epochs": 5.0, "milestones": [15, 30], "step_epochs": 20, "min_lr": 1e-4}
    train = TrainConfig.model_validate({"epochs": 30, "schedule": schedule, "keep_top": 3})
    short = retimed(train, epochs=3, lr=1e-5)
    dates = short.schedule
    assert (dates.warmup_epochs, dates.milestones, dates.step_epochs, dates.min_lr) == (0.5, (2, 3), 2, 1e-5)
    same = retimed(train, epochs=None, lr=None)
    assert same == train.model_copy(update={"sanity": False, "keep_top": 1})


@pytest.mark.parametrize("name", ["constant", "step", "multistep", "exponential", "cosine", "one_cycle", "plateau"])
@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_every_schedule_fits_the_shorter_training(name: str, epochs: int) -> None:
    schedule = ScheduleConfig(name=name, warmup_epochs=30.0, min_lr=5e-4)  # type: ignore[arg-type]
    short = retimed(TrainConfig(schedule=schedule, folds=3), epochs=epochs, lr=1e-4)
    again = TrainConfig.model_validate(short.model_dump())
    assert (again.epochs, again.lr, again.folds, again.sanity) == (epochs, 1e-4, None, False)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=again.lr)
    built = build_schedule(optimizer, again.schedule, epochs=epochs, monitor="val/loss")
    for done in range(epochs):
        built.before_step(done, 0.5)
        assert 0 < built.learning_rate <= 1e-4
        assert math.isfinite(built.learning_rate)
