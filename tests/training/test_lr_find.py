"""The range test finds rates at which networks learn, on a copy, with the optimizer and the batches of the real training."""

import math

import pytest
import torch

from pipeline.config import load
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.begin import begin
from pipeline.training.loop import fit
from pipeline.training.lr_find import HIGHEST, LOWEST, STEPS, LrRange, lr_range
from pipeline.training.randomness import rng_state
from tests.conftest import Finished, Project


def ranged(finished: Finished, *words: str) -> tuple[Assembly, LrRange]:
    config = load(finished.folder / "config.yaml", words)
    parts = assemble(config, finished.prepared)
    return parts, lr_range(parts, config.train, seed=config.seed)


def test_rates_rise_by_the_same_factor_until_the_loss_explodes(finished: Finished) -> None:
    _, found = ranged(finished, "train.optimizer.name=sgd")
    factors = [after / before for before, after in zip(found.rates, found.rates[1:], strict=False)]
    assert found.rates[0] == LOWEST
    assert factors == pytest.approx([(HIGHEST / LOWEST) ** (1 / (STEPS - 1))] * len(factors))
    assert len(found.rates) == len(found.losses) == len(found.smooth)
    assert all(math.isfinite(loss) for loss in found.losses)
    assert found.exploded == (len(found.rates) < STEPS)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_the_suggested_rate_learns_far_more_than_one_a_hundred_times_smaller(finished: Finished, optimizer: str) -> None:
    word = f"train.optimizer.name={optimizer}"
    _, found = ranged(finished, word)
    assert found.steepest is not None
    reached = []
    for rate in (found.steepest, found.steepest / 100):
        config = load(finished.folder / "config.yaml", [word, f"train.lr={rate:g}", "train.epochs=5"])
        parts = assemble(config, finished.prepared)
        fit(parts.state, parts.rows.train, parts.rows.validation, parts.objective, seed=0, options=parts.options)
        reached.append(min(line["val/loss"] for line in parts.state.history))
    assert reached[0] < 0.75 * reached[1]


@pytest.mark.parametrize(
    "words",
    [
        ("train.precision=bf16",),
        ("train.precision=fp16",),
        ("train.batch_size=7", "train.accumulate=2"),
        ("train.ema_decay=0.9", "train.clip_norm=1"),
        ("augment.mixup_alpha=0.3",),
        ("train.in_memory=false",),
        ("train.loss.class_weights=balanced", "train.sampling=balanced"),
    ],
)
def test_it_works_with_what_the_training_is_set_to(finished: Finished, words: tuple[str, ...]) -> None:
    _, found = ranged(finished, *words)
    assert found.steepest is not None
    assert 1e-4 < found.steepest < 1


def test_the_network_and_the_generators_stay_as_they_were(finished: Finished) -> None:
    config = load(finished.folder / "config.yaml", ["model.dropout=0.2"])
    parts = assemble(config, finished.prepared)
    before = {name: tensor.clone() for name, tensor in parts.state.net.state_dict().items()}
    random = rng_state()["torch"]
    lr_range(parts, config.train, seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts.state.net.state_dict().items())
    assert torch.equal(rng_state()["torch"], random)
    assert begin(parts.state.net, config.train).optimizer.param_groups[0]["lr"] == config.train.lr


def test_the_same_seed_gives_the_same_curve(finished: Finished) -> None:
    assert ranged(finished)[1] == ranged(finished)[1]


def test_a_regression_gets_a_rate_and_a_picture(project: Project) -> None:
    code, out, err = project.run("lr-find", "data.source=diabetes")
    assert (code, err) == (0, [])
    assert any(line.startswith("suggested  train.lr=") for line in out)
    (picture,) = (project.folder / "runs" / "lr-find").iterdir()
    assert picture.stat().st_size > 10_000
    assert picture.name.startswith("quick-")


def test_a_network_that_cannot_learn_gets_no_rate_but_the_command_that_tells_why(project: Project) -> None:
    (project.folder / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_shape, outputs):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(input_shape[0], outputs)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x) * 0\n"
    )
    words = ("model.name=custom", "model.file=net.py", "model.class=Net")
    code, _, err = project.run("lr-find", *words)
    assert code == 3
    assert len(err) == 1
    assert err[0].startswith("lr-find: the loss fell at no learning rate between 1e-07 and 10 (picture: runs/lr-find/quick-")
    assert err[0].endswith("python -m pipeline sanity --config quick.yaml " + " ".join(words))
