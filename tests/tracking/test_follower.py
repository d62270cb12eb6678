"""A process that feeds a store is started again when it fails, once says so, and at the end whether anything is missing."""

import sys
from pathlib import Path

import pytest

from pipeline.config import MlflowSettings
from pipeline.tracking import Record
from pipeline.tracking.follower import Follower, followers, store_lock, stores_of

RECORD = Record("2026-11-21T00:00:00.000+00:00", "train", "event", None, {"name": "stage_started"})
# A stand-in for Python that fails until a file says otherwise, or that follows until its input ends.
SHELL = """#!/bin/sh
echo started >> {folder}/starts
if [ -e {folder}/broken ]; then echo "trace"; echo "the store is gone" >&2; exit 2; fi
cat > /dev/null
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that makes followers fail as long as it is there; `starts` beside it counts them."""
    shell = tmp_path / "python"
    shell.write_text(SHELL.format(folder=tmp_path))
    shell.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(shell))
    (tmp_path / "broken").touch()
    return tmp_path / "broken"


def starts(broken: Path) -> int:
    return len((broken.parent / "starts").read_text().splitlines())


def wait_for_end(follower: Follower) -> None:
    assert follower._process is not None
    follower._process.wait(timeout=10)


@pytest.fixture
def said() -> list[str]:
    """The lines that a follower warns with."""
    return []


@pytest.fixture
def follower(broken: Path, said: list[str]) -> Follower:
    return Follower("mlflow", broken.parent / "journal.jsonl", warn=said.append)


def test_a_store_that_fails_while_the_work_goes_on_is_told_of_at_once_and_never_again(
    broken: Path, follower: Follower, said: list[str]
) -> None:
    follower.show(RECORD)
    wait_for_end(follower)
    for _ in range(3):
        follower.show(RECORD)
    line = (
        "MLflow lacks part of this run so far: the store is gone; it is tried again until the end, "
        "and `python -m pipeline sync` stores what is missing then"
    )
    assert said == [line]
    assert starts(broken) == 1, "the next try waits for a while"
    follower.close()
    assert starts(broken) == 2
    assert said == [line]


def test_a_store_whose_failure_nobody_saw_before_the_end_is_told_of_then(
    broken: Path, follower: Follower, said: list[str]
) -> None:
    follower.show(RECORD)
    follower.close()
    assert starts(broken) == 2
    assert said == ["MLflow lacks part of this run: the store is gone; `python -m pipeline sync` tries again"]


def test_a_follower_that_failed_is_started_again_while_the_work_goes_on(
    broken: Path, follower: Follower, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.follower._WAIT_S", 0.0)
    follower.show(RECORD)
    wait_for_end(follower)
    broken.unlink()
    follower.show(RECORD)
    follower.close()
    assert starts(broken) == 2
    assert len(said) == 1


def test_a_store_that_fails_at_the_end_and_takes_everything_at_the_second_try_is_one_line(
    broken: Path, said: list[str]
) -> None:
    follower = Follower("wandb", broken.parent / "journal.jsonl", warn=said.append)
    follower.show(RECORD)
    wait_for_end(follower)
    broken.unlink()
    follower.close()
    assert said == ["Weights & Biases failed, was tried again and has everything now: the store is gone"]


def test_a_follower_that_was_never_needed_starts_nothing(broken: Path, follower: Follower, said: list[str]) -> None:
    follower.close()
    assert said == []
    assert not (broken.parent / "starts").exists()


def test_two_processes_never_store_one_journal_at_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with store_lock(journal, "mlflow", wait=False) as first, store_lock(journal, "mlflow", wait=False) as second:
        assert (first, second) == (True, False)
    with store_lock(journal, "mlflow", wait=False) as again:
        assert again


def test_each_store_that_the_settings_name_gets_a_follower(tmp_path: Path) -> None:
    assert stores_of(MlflowSettings(tracking_uri=None)) == []
    both = followers(tmp_path / "journal.jsonl", MlflowSettings(wandb_project="slipway"), print)
    assert [follower.name for follower in both] == ["MLflow", "Weights & Biases"]
