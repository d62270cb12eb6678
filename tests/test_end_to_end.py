"""From a data set to an answer over HTTP, with the commands that people type: real processes, a real server."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifacts import Exported, Model, Prepared
from pipeline.training.deployed import answers, deployable_of
from tests.conftest import ROOT
from tests.service import get, served


@pytest.mark.parametrize(("config", "epochs"), [("digits", 2), ("breast_cancer", 5), ("diabetes", 5)])
def test_serve_makes_everything_and_answers_what_the_evaluated_model_answers(config: str, epochs: int, tmp_path: Path) -> None:
    with served(ROOT / "configs" / f"{config}.yaml", tmp_path, f"train.epochs={epochs}") as (url, process):
        run = (tmp_path / "runs" / "latest").resolve()
        prepared = Prepared.open(next(path for path in (tmp_path / "data" / "prepared").iterdir() if path.is_dir()))
        inputs, _ = prepared.split("test")
        expected = answers(deployable_of(prepared, Model.open(run / "train")), inputs[:20])
        reply = get(f"{url}/predict", {"inputs": inputs[:20].tolist()})
        np.testing.assert_allclose(values(reply["predictions"]), expected, rtol=1e-4, atol=1e-4)
        assert reply["model"]["digest"] == Exported.open(run / "export").open_bundle().digest
        if prepared.schema.features:
            names = [feature.name for feature in prepared.schema.features]
            records = [dict(zip(names, row, strict=True)) for row in inputs[:20].tolist()]
            assert get(f"{url}/predict", {"records": records})["predictions"] == reply["predictions"]
        assert get(f"{url}/info")["lineage"]["run"] == run.name
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors + out
    assert errors == ""


def values(predictions: list[Any]) -> Any:
    return [list(p["probabilities"].values()) if "probabilities" in p else [p["value"]] for p in predictions]
