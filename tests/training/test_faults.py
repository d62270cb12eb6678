"""What a user's own network, or a change in the middle of a training, may do wrong: one line that says what to do."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.train_sections import LossConfig, TrainConfig
from pipeline.errors import UserError
from pipeline.training import FitState, fit
from pipeline.training.begin import begin
from pipeline.training.hooks import Hook
from pipeline.training.losses import classification_loss
from tests.conftest import Project
from tests.test_cli import interrupted
from tests.training.test_loop import OBJECTIVE, rows, train
from tests.training.test_losses import CLASSES, COUNTS

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.calls = 0
        self.layer = nn.Linear(input_shape[0], outputs)
        {init}

    def forward(self, x):
        {before}
        return {answer}
"""


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"before": "self.layer.weight.data = self.layer.weight.data.clamp(-1, 1)"},
            "forward() replaces the memory of layer.weight",
        ),
        ({"answer": "self.layer(x).detach()"}, "model: the answers have no gradient; look for detach()"),
        ({"init": "self.requires_grad_(False)"}, "model: it has no parameters to train"),
        (
            {
                "init": "self.table = nn.Embedding(4, 3, sparse=True)",
                "answer": "self.layer(x) + self.table(x[:, 0].long() % 4)",
            },
            "model: table.weight has sparse gradients, which are not supported; set sparse=False in its layer",
        ),
        (
            {"before": "self.calls += self.training\n        assert self.calls < 30, 'enough'"},
            "model: it fails in epoch",
        ),
    ],
    ids=["rebinds", "detached", "frozen", "sparse", "late"],
)
def test_a_network_that_cannot_be_trained_is_one_line(project: Project, parts: dict[str, str], message: str) -> None:
    words = {"init": "", "before": "", "answer": "self.layer(x)"} | parts
    (project.folder / "net.py").write_text(NET.format(**words))
    code, _, errors = project.run(
        "train", "model={name: custom, file: net.py, class: Net}", "train.sanity=false", "train.epochs=40"
    )
    assert code == 2
    assert len(errors) == 1
    assert message in errors[0]


class Rebinds(Hook):
    """Gives a parameter other memory in the middle, as a forward() with a condition may."""

    def on_batch_end(self, state: FitState) -> None:
        weight: Any = dict(state.net.named_parameters())["0.weight"]
        weight.data = weight.data.clone()


def test_a_parameter_that_leaves_its_memory_later_ends_the_epoch_with_its_name() -> None:
    with pytest.raises(UserError, match=r"replaces the memory of 0\.weight, so that training would not reach it"):
        train(Rebinds())


def test_a_focal_loss_has_a_slope_where_a_row_is_right_beyond_doubt() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0]], requires_grad=True)
    for gamma in (0.3, 0.5, 1.0, 2.0):
        loss = classification_loss(LossConfig(name="focal", focal_gamma=gamma), CLASSES, COUNTS)
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([0])), logits)
        assert bool(torch.isfinite(gradient).all())


def test_metrics_of_an_epoch_leave_out_the_rows_of_steps_that_were_left_out() -> None:
    data = rows(40, batch_size=8)
    data.inputs[5] = torch.nan
    state = train(data=data, nonfinite="skip", epochs=1)
    assert len(torch.cat(state.done.targets)) == 32
    assert state.history[0]["train/cross_entropy"] == pytest.approx(state.history[0]["train/loss"], rel=1e-5)


def test_a_step_in_parts_never_has_a_part_of_one_row() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    state = begin(net, TrainConfig(epochs=1), parts=4)
    assert fit(state, rows(26, batch_size=13), rows(8, 1), OBJECTIVE, seed=0).epoch == 1


def test_what_a_forced_resume_accepts_takes_effect_and_what_cannot_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train.epochs=3000", "train.early_stopping.patience=null", "train.schedule.name=constant")
    interrupted(project, monkeypatch, *words)
    for word in (
        "train.optimizer.name=sgd",
        "train.schedule.name=plateau",
        "train.batch_size=64",
        "train.optimizer.weight_decay=0.5",
    ):
        code, _, err = project.run("train", *words, "--resume", "--force", word)
        assert code == 2
        assert err[0].startswith(f"train --resume --force: {word.partition('=')[0]} cannot change in the middle of a training")
    code, _, err = project.run("train", *words, "--resume", "--force", "train.lr=0.0005", "train.epochs=5")
    assert (code, err) == (0, [])
    history = [json.loads(line) for line in (project.latest / "train" / "history.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in history] == [0.005, 0.005, 0.0005, 0.0005, 0.0005]
