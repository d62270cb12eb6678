"""SIGKILL at random moments, on the real command: what a training loses by it is nothing."""

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.resume_check import link_downloads, resume_check, with_absolute_paths
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


@pytest.mark.slow
def test_files_beside_the_command_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{n / 7},{n % 5},{n % 3}" for n in range(90)]
    for name, part in (("train", rows[:50]), ("validation", rows[50:70]), ("test", rows[70:])):
        Path(f"{name}.csv").write_text("\n".join(["a,b,y", *part]) + "\n")
    data = "data={path: train.csv, validation_path: validation.csv, test_path: test.csv, target: y, task: regression}"
    assert check("diabetes.yaml", 0, 0, data, "train.epochs=2").startswith("OK: ")


def test_a_set_that_was_fetched_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/downloads").mkdir(parents=True)
    Path("data/downloads/kept").write_text("rows")
    Path("elsewhere").mkdir()
    link_downloads(Path("elsewhere"))
    assert Path("elsewhere/data/downloads/kept").read_text() == "rows"


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ("{path: a.csv, validation_path: b.csv, test_path: c.csv, target: y}", ("path", "validation_path", "test_path")),
        ("{source: arrays, path: a.npy, targets_path: b.npy}", ("path", "targets_path")),
        ("{source: images, path: a, labels: b.csv}", ("path", "labels")),
        ("{source: python, file: a.py}", ("file",)),
    ],
)
def test_every_file_of_a_config_is_named_so_that_it_is_found_from_anywhere(
    data: str, keys: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = with_absolute_paths(load(None, [f"data={data}", "model={name: custom, file: m.py, class: Net}"]))
    assert [Path(values["data"][key]).parent for key in keys] == [tmp_path] * len(keys)
    assert values["model"]["file"] == str(tmp_path / "m.py")
