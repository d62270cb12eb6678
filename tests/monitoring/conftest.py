"""Prepared rows of three kinds, and trainings on them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artifacts import Prepared
from pipeline.cli import main
from tests.conftest import NO_MLFLOW
from tests.monitoring.trainings import Begin, Training, begin


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """Rows of a source; prepared once."""
    folder = tmp_path_factory.mktemp("monitored")
    done: dict[str, Prepared] = {}

    def of(source: str) -> Prepared:
        if source not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                Path("mlflow.yaml").write_text(NO_MLFLOW)
                Path(f"{source}.yaml").write_text(f"data: {{source: {source}}}\n")
                assert main(["prepare", "--config", f"{source}.yaml"]) == 0
            path = next(path for path in (folder / "data" / "prepared").iterdir() if path.name.startswith(source))
            done[source] = Prepared.open(path)
        return done[source]

    return of


@pytest.fixture
def training(prepared: Callable[[str], Prepared], tmp_path: Path) -> Iterator[Begin]:
    """Assemble a training on a source, set by words."""
    threads, count = torch.get_num_threads(), iter(range(99))

    def of(source: str, *words: str, **options: Any) -> Training:
        out = tmp_path / f"train-{next(count)}"
        out.mkdir()
        return begin(prepared(source), out, words, **options)

    yield of
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
