"""What many tests need: a project folder, small rows, a finished run."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.artifacts import Exported, Model, Prepared
from pipeline.cli import main

ROOT = Path(__file__).resolve().parent.parent
NO_MLFLOW = "tracking_uri: null\n"
QUICK = """\
data: {source: iris}
model: {name: mlp, hidden: [8]}
train: {epochs: 3, lr: 5e-3}
evaluate: {resamples: 100}
"""


@dataclass(frozen=True)
class Project:
    """A folder where commands run: `run("train", "train.epochs=1")` returns (exit code, stdout lines, stderr lines)."""

    folder: Path
    run: Callable[..., tuple[int, list[str], list[str]]]

    @property
    def latest(self) -> Path:
        return (self.folder / "runs" / "latest").resolve()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    """An empty project with `quick.yaml`, without MLflow."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.yaml").write_text(QUICK)
    (tmp_path / "mlflow.yaml").write_text(NO_MLFLOW)

    def run(command: str, *words: str, config: str | None = "quick.yaml") -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        code = main([command, *(["--config", config] if config else []), *words])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return Project(tmp_path, run)


@dataclass(frozen=True)
class Finished:
    """One run whose stages are all complete."""

    folder: Path
    prepared: Prepared
    model: Model
    exported: Exported


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A trained, evaluated and exported run, shared: tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("quick.yaml").write_text(QUICK)
        Path("mlflow.yaml").write_text(NO_MLFLOW)
        assert main(["evaluate", "--config", "quick.yaml"]) == 0
        assert main(["export", "--config", "quick.yaml"]) == 0
        for name in ("data", "runs"):
            shutil.copytree(name, Path("untouched", name), symlinks=True)  # the ledger of test reads goes on growing
    run = (folder / "runs" / "latest").resolve()
    prepared = next(path for path in (folder / "data" / "prepared").iterdir() if path.is_dir())
    return Finished(run, Prepared.open(prepared), Model.open(run / "train"), Exported.open(run / "export"))


@pytest.fixture
def ready(project: Project, finished: Finished) -> Project:
    """A project whose `quick.yaml` has been trained, evaluated and exported: a copy that a test may change."""
    for name in ("data", "runs"):
        shutil.copytree(finished.folder.parent.parent / "untouched" / name, project.folder / name, symlinks=True)
    return project
