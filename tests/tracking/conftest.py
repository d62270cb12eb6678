"""What tests of stores need: an MLflow store that is ready, and what is in it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import MlflowSettings
from pipeline.tracking import Record
from pipeline.tracking.follower import Follower


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose migrations, which take seconds, have run."""
    folder = tmp_path_factory.mktemp("store")
    client_of(folder / "mlflow.db").search_experiments()
    return folder / "mlflow.db"


def client_of(database: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{database}")


def settings_for(database: Path) -> MlflowSettings:
    return MlflowSettings(
        tracking_uri=f"sqlite:///{database}", experiment="slipway", artifact_location=str(database.parent / "files")
    )


@pytest.fixture
def settings(empty_store: Path, tmp_path: Path) -> MlflowSettings:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return settings_for(tmp_path / "mlflow.db")


def only_run(settings: MlflowSettings) -> Any:
    client = client_of(Path(str(settings.tracking_uri).removeprefix("sqlite:///")))
    (experiment,) = (found for found in client.search_experiments() if found.name == settings.experiment)
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


@pytest.fixture
def failing_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a store that fails do so before the second record, as in a training that takes long."""
    show = Follower.show

    def waiting(self: Follower, record: Record) -> None:
        show(self, record)
        if self._process is not None:
            self._process.wait(timeout=60)

    monkeypatch.setattr(Follower, "show", waiting)


@pytest.fixture
def failing_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody look at a store after the first record until the work is done, as in a training of seconds."""
    show = Follower.show

    def looking_once(self: Follower, record: Record) -> None:
        if not self._started:
            show(self, record)

    monkeypatch.setattr(Follower, "show", looking_once)
