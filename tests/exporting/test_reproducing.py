"""reproduce.sh does what it says: makes the artifacts again with the same bytes, and checks one against rows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.training.deployed import answers, deployable_of
from tests.conftest import ROOT, Finished

ARTIFACTS = ("train-fp32.onnx", "train-fp32.torchscript.pt")


def sh(export: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    script = export / "reproduce.sh"
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return subprocess.run(["sh", script, *words], capture_output=True, text=True, check=False, env=environment)


def test_the_script_makes_the_artifacts_again_elsewhere_and_finds_the_same_bytes(finished: Finished) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    done = sh(finished.exported.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    onnx, torchscript = done.stdout.splitlines()[-2:]
    assert onnx == f"{ARTIFACTS[0]}: the same bytes"
    assert torchscript.startswith(f"{ARTIFACTS[1]}: ")
    assert torchscript.endswith(("the same bytes", "it answers like the model"))
    assert {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")} == before, "the run is left as it was"


@pytest.mark.slow  # ten seconds on a busy core
def test_other_bytes_end_with_exit_code_1(finished: Finished, tmp_path: Path) -> None:
    project = finished.folder.parent.parent
    for name in ("data", "quick.yaml"):
        (tmp_path / name).symlink_to(project / name)
    run = shutil.copytree(finished.folder, tmp_path / "runs" / finished.folder.name, symlinks=True)
    artifact = run / "export" / ARTIFACTS[0]
    artifact.write_bytes(artifact.read_bytes() + b"x")
    done = sh(run / "export")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{ARTIFACTS[0]}: other bytes" in done.stdout.splitlines()


@pytest.fixture
def rows(finished: Finished, tmp_path: Path) -> tuple[Path, Path]:
    inputs, _ = finished.prepared.split("validation")
    np.save(tmp_path / "rows.npy", inputs)
    np.save(tmp_path / "answers.npy", answers(deployable_of(finished.prepared, finished.model), inputs))
    return tmp_path / "rows.npy", tmp_path / "answers.npy"


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_is_checked_against_rows_with_their_answers(
    name: str, finished: Finished, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    artifact = finished.exported.folder / name
    done = sh(finished.exported.folder, "check", artifact, *rows)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{len(np.load(rows[0]))} rows, largest difference ")
    wrong = np.load(rows[1])
    wrong[3] += 0.01
    np.save(tmp_path / "wrong.npy", wrong)
    done = sh(finished.exported.folder, "check", artifact, rows[0], tmp_path / "wrong.npy")
    assert done.returncode == 1
    assert done.stderr.startswith("reproduce.sh: row 3: ")


def test_without_answers_it_prints_those_of_the_artifact(finished: Finished, rows: tuple[Path, Path]) -> None:
    done = sh(finished.exported.folder, "check", finished.exported.folder / ARTIFACTS[0], rows[0])
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_allclose(found, np.load(rows[1]), atol=1e-5)


def test_it_says_how_it_is_used_and_of_which_run_it_is(finished: Finished) -> None:
    done = sh(finished.exported.folder, "chekc")
    assert (done.returncode, done.stderr) == (1, "usage: sh reproduce.sh [check FILE ROWS.npy [ANSWERS.npy]]\n")
    text = (finished.exported.folder / "reproduce.sh").read_text()
    assert f"The artifacts of run {finished.folder.name}." in text
    assert "python -m pipeline export --run" in text
