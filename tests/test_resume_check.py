"""SIGKILL at random moments, on the real command: what a training loses by it is nothing."""

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.resume_check import resume_check
from tests.conftest import ROOT

AUGMENTED = [
    "train.epochs=10",
    "train.sampling=balanced",
    "train.ema_decay=0.99",
    "train.schedule.name=one_cycle",
    "augment.rotate_degrees=10",
    "augment.erase=0.3",
    "augment.mixup_alpha=0.2",
]


def check(config: str, kills: int, seed: int, *words: str) -> str:
    said: list[str] = []
    resume_check(load(ROOT / "configs" / config, words), kills=kills, seed=seed, say=said.append)
    return said[-1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_dropout_and_augmentation_survive_twelve_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check("digits.yaml", 12, 0, *AUGMENTED).endswith("after 12 kills")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_regression_survives_ten_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check("diabetes.yaml", 10, 3, "train.epochs=400", "train.early_stopping.patience=null").endswith("after 10 kills")
