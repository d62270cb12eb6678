"""Checkpoints: the best epoch's weights, in identical bytes for identical runs, never a pickled module."""

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.config.train_sections import OptimizerConfig, TrainConfig
from pipeline.errors import NonFiniteLoss
from pipeline.models.registry import Architecture, build
from pipeline.training import FitState, fit
from pipeline.training.begin import begin
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.early_stopping import EarlyStopping, Mode
from pipeline.training.hooks import Hook
from pipeline.training.weights import dump, load
from tests.training.test_loop import OBJECTIVE, rows

ARCHITECTURE = Architecture("mlp", (4,), 2, {"hidden": [8], "dropout": 0.0})


class Snapshots(Hook):
    """Keeps the weights after each epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_epoch_end(self, state: FitState) -> None:
        self.weights.append({name: tensor.clone() for name, tensor in state.net.state_dict().items()})


def trained(folder: Path, *, every_s: float = 0, lr: float = 0.05, mode: Mode = "auto") -> tuple[EarlyStopping, Snapshots]:
    torch.manual_seed(0)
    net = build(ARCHITECTURE)
    stopping = EarlyStopping("val/loss", patience=None, mode=mode)
    snapshots = Snapshots()
    hooks = [stopping, snapshots, Checkpoints(folder, ARCHITECTURE, stopping, every_s=every_s)]
    config = TrainConfig(epochs=4, lr=lr, optimizer=OptimizerConfig(name="sgd", momentum=0.0, weight_decay=0.0))
    fit(begin(net, config), rows(64), rows(32, 1), OBJECTIVE, seed=0, hooks=hooks)
    return stopping, snapshots


@pytest.mark.parametrize("every_s", [0, 1000])
def test_best_holds_the_best_epochs_weights_however_rarely_it_is_written(tmp_path: Path, every_s: float) -> None:
    stopping, snapshots = trained(tmp_path, every_s=every_s, mode="max")  # the loss falls, so the first epoch has the most
    assert stopping.best_epoch == 1
    best = load((tmp_path / "best.pt").read_bytes()).state_dict()
    assert all(torch.equal(best[name], snapshots.weights[0][name]) for name in best)
    assert not all(torch.equal(best[name], snapshots.weights[-1][name]) for name in best)


def test_last_holds_what_a_resume_needs(tmp_path: Path) -> None:
    _, snapshots = trained(tmp_path)
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert set(last) == {"origin", "fit", "early_stopping", "best", "top", "choices"}
    assert {"epoch", "batch", "step", "history", "weights", "optimizer", "schedule", "rng"} <= set(last["fit"])
    assert all(torch.equal(last["fit"]["weights"][name], tensor) for name, tensor in snapshots.weights[-1].items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "checkpoints.jsonl", "last.pt"]


def test_two_runs_with_one_seed_write_identical_bytes(tmp_path: Path) -> None:
    payloads = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        trained(tmp_path / name)
        payloads.append((tmp_path / name / "best.pt").read_bytes())
    assert payloads[0] == payloads[1]


def test_a_run_without_one_finite_epoch_has_no_best(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stopping = EarlyStopping("val/loss", patience=None, min_delta=0)
    hook = Checkpoints(tmp_path, ARCHITECTURE, stopping, every_s=0)
    with pytest.raises(NonFiniteLoss, match="val/loss was never finite"):
        hook.on_fit_end(None)  # type: ignore[arg-type]  # it must not look at the state before it refuses
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_builds_its_own_network_and_refuses_pickled_modules() -> None:
    net = build(ARCHITECTURE)
    again = load(dump(ARCHITECTURE, net.state_dict()))
    inputs = torch.randn(3, 4)
    assert torch.equal(net.eval()(inputs), again(inputs))
    buffer = io.BytesIO()
    torch.save(nn.Linear(2, 2), buffer)
    with pytest.raises(Exception, match="[Ww]eights.only"):
        load(buffer.getvalue())
