"""reproduce.sh does what it says: makes the artifacts again with the same bytes, and checks one against rows."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.exporting.parity import Tolerance
from pipeline.exporting.reproducing import reproduction
from pipeline.exporting.torchscript import with_metadata
from pipeline.training.deployed import answers, deployable_of
from serving.files import sha256_of
from tests.conftest import ROOT, Finished, Project

ARTIFACTS = ("train-fp32.onnx", "train-fp32.torchscript.pt")


def sh(
    export: Path, *words: str | Path, python: str | None = sys.executable, path: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script of an export folder; python: the variable PYTHON; path: searched first for commands."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"} | {"PYTHONPATH": str(ROOT)}
    if python is not None:
        environment["PYTHON"] = python
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    command = ["sh", export / "reproduce.sh", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Path:
    """The export folder of a copy of the finished run, in a project folder of its own, `tmp_path`."""
    project = finished.folder.parent.parent
    for name in ("data", "quick.yaml"):
        (tmp_path / name).symlink_to(project / name)
    return shutil.copytree(finished.folder, tmp_path / "runs" / finished.folder.name, symlinks=True) / "export"


def replaced(export: Path, name: str, payload: bytes) -> None:
    """Put other bytes into an export folder, as if export had written them."""
    (export / name).write_bytes(payload)
    manifest = json.loads((export / "manifest.json").read_bytes())
    manifest["makes"][name] = {"sha256": sha256_of(payload), "bytes": len(payload)}
    (export / "manifest.json").write_text(json.dumps(manifest))


def constant(outputs: int) -> bytes:
    """Return a TorchScript file that gives each class the same probability whatever the row."""
    example = torch.zeros(2, 4)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has deprecated it
        linear = nn.Linear(4, outputs)
        nn.init.zeros_(linear.weight)
        net = nn.Sequential(linear, nn.Softmax(1))
        torch.jit.save(torch.jit.trace(net.eval(), example), buffer)
    return buffer.getvalue()


def test_a_file_that_changed_since_is_told_with_both_digests(copied: Path) -> None:
    written = [(copied / name).read_bytes() for name in ARTIFACTS]
    for name in ARTIFACTS:
        (copied / name).write_bytes(b"destroyed")
    done = sh(copied)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"reproduce.sh: {name}: damaged: sha256 {sha256_of(b'destroyed')}, manifest.json says {sha256_of(payload)}"
        for name, payload in zip(ARTIFACTS, written, strict=True)
    ]
    (copied / "manifest.json").write_text("{")
    done = sh(copied)
    assert done.returncode == 1
    assert done.stderr.startswith(f"reproduce.sh: {copied / 'manifest.json'}: cannot be read: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_script_makes_the_artifacts_again_elsewhere_and_torchscript_of_other_bytes_passes_if_it_answers_the_same(
    copied: Path, tmp_path: Path
) -> None:
    payload = with_metadata((copied / ARTIFACTS[1]).read_bytes(), {"note": "other bytes"})
    replaced(copied, ARTIFACTS[1], payload)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    before = {path: path.stat().st_mtime_ns for path in copied.parent.rglob("*")}
    done = sh(copied, python=".venv/bin/python", cwd=tmp_path)  # relative to where the user stands
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in copied.parent.rglob("*")} == before, "the run is left as it was"
    *_, onnx, other, compared, verdict = done.stdout.splitlines()
    assert onnx == f"{ARTIFACTS[0]}: the same bytes"
    assert other == f"{ARTIFACTS[1]}: other bytes"
    assert "largest difference 0" in compared
    assert verdict.startswith(f"{ARTIFACTS[1]}: the same answers as the file made again")


def test_other_bytes_end_with_exit_code_1(copied: Path) -> None:
    replaced(copied, ARTIFACTS[0], (copied / ARTIFACTS[0]).read_bytes() + b"x")
    replaced(copied, ARTIFACTS[1], constant(3))
    done = sh(copied)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{ARTIFACTS[0]}: other bytes" in done.stdout.splitlines()
    assert f"{ARTIFACTS[1]}: does not answer like the file made again" in done.stdout.splitlines()
    assert "reproduce.sh: row " in done.stderr


def test_without_python_it_takes_that_of_the_project(copied: Path, rows: tuple[Path, Path], tmp_path: Path) -> None:
    foreign = tmp_path / "bin" / "python"
    foreign.parent.mkdir()
    foreign.write_text("#!/bin/sh\necho the foreign one >&2\nexit 9\n")
    foreign.chmod(0o755)
    done = sh(copied, "check", ARTIFACTS[0], *rows, python=None, path=foreign.parent)
    assert (done.returncode, done.stderr) == (9, "the foreign one\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = sh(copied, "check", ARTIFACTS[0], *rows, python=None, path=foreign.parent)
    assert (done.returncode, done.stderr) == (0, "")
    done = sh(copied, "check", ARTIFACTS[0], *rows, python="none/python", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"reproduce.sh: there is no interpreter {tmp_path}/none/python; name one by PYTHON=path\n"


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


def test_a_file_is_found_beside_the_script_and_may_be_compared_with_another(
    finished: Finished, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    done = sh(finished.exported.folder, "check", ARTIFACTS[0], rows[0].name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = sh(finished.exported.folder, "check", ARTIFACTS[0], rows[0], finished.exported.folder / ARTIFACTS[1])
    assert (done.returncode, done.stderr) == (0, "")


def unusable(folder: Path, rows: Path) -> list[tuple[str, Path, Path, str]]:
    """Return a name in words, an artifact, rows, and what the message says of them."""
    objects, wide, words, empty = (folder / f"{name}.npy" for name in ("objects", "wide", "words", "empty"))
    np.save(objects, np.array([{}, None], dtype=object))
    np.save(wide, np.zeros((2, 9), np.float32))
    np.save(words, np.array(["a", "b"]))
    np.save(empty, np.zeros((0, 4)))
    onnx, torchscript = (folder / name for name in ("broken.onnx", "broken.torchscript.pt"))
    onnx.write_bytes(b"destroyed")
    torchscript.write_bytes(b"destroyed")
    good = [Path(name) for name in ARTIFACTS]
    return [
        ("no rows file", good[0], folder / "none.npy", "No such file"),
        ("objects", good[0], objects, "ValueError"),
        ("words", good[0], words, "is no array of numbers"),
        ("empty", good[0], empty, "has no rows"),
        ("wide to ONNX", good[0], wide, "dimensions"),
        ("wide to TorchScript", good[1], wide, "RuntimeError: "),
        ("broken ONNX", onnx, rows, "INVALID_PROTOBUF"),
        ("broken TorchScript", torchscript, rows, "RuntimeError: "),
        ("no artifact", folder / "none.onnx", rows, "none.onnx"),
    ]


def test_what_cannot_be_checked_is_one_line(finished: Finished, rows: tuple[Path, Path], tmp_path: Path) -> None:
    cases = unusable(tmp_path, rows[0])
    assert len(cases) == 9
    for name, file, given, reason in cases:
        done = sh(finished.exported.folder, "check", file, given)
        assert (done.returncode, done.stdout) == (1, ""), name
        (line,) = done.stderr.splitlines()
        shown = file if file.is_absolute() else finished.exported.folder / file
        assert line.startswith(f"reproduce.sh: {shown}, {given}: "), name
        assert reason in line, (name, line)


def test_what_is_allowed_is_one_number_for_each_output_or_for_all(
    finished: Finished, rows: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = np.load(rows[1]) + np.array([0.5, 0, 0], np.float32)
    np.save(tmp_path / "moved.npy", moved)
    shutil.copy(finished.exported.folder / ARTIFACTS[0], tmp_path)
    allowed: list[tuple[float | list[float], list[float], int]] = [
        (1e-4, [], 1),
        (1.0, [], 0),
        ([1.0, 1e-4, 1e-4], [], 0),
        ([1e-4, 1e-4, 1.0], [], 1),
        ([1.0, 1e-4, 1e-4], [0.5, 0.5, 0.5], 0),
    ]
    for atol, center, code in allowed:
        text = reproduction(finished.model, {}, ARTIFACTS, Tolerance(atol, 1e-6, center))
        (tmp_path / "reproduce.sh").write_bytes(text)
        done = sh(tmp_path, "check", ARTIFACTS[0], rows[0], tmp_path / "moved.npy")
        assert done.returncode == code, (atol, center, done.stderr)
        assert "Traceback" not in done.stderr


def test_without_answers_it_prints_those_of_the_artifact(finished: Finished, rows: tuple[Path, Path]) -> None:
    done = sh(finished.exported.folder, "check", finished.exported.folder / ARTIFACTS[0], rows[0])
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_allclose(found, np.load(rows[1]), atol=1e-5)


def test_it_says_how_it_is_used_and_of_which_run_it_is(finished: Finished) -> None:
    done = sh(finished.exported.folder, "chekc")
    assert (done.returncode, done.stderr) == (1, "usage: sh reproduce.sh [check FILE ROWS.npy [ANSWERS]]\n")
    text = (finished.exported.folder / "reproduce.sh").read_text()
    assert f"The artifacts of run {finished.folder.name}." in text
    assert "python -m pipeline export --run" in text


def test_the_documented_way_to_read_a_file_is_right_for_classes_and_for_values(finished: Finished, project: Project) -> None:
    code, _, err = project.run("export", "data.source=diabetes", "export.formats=[onnx]")
    assert code == 0, err
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), flags=re.DOTALL)
    command = [sys.executable, "-c", snippet]
    for export, classes in ((finished.exported.folder, True), (project.latest / "export", False)):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=export)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("'setosa'" in done.stdout or "'v" in done.stdout) == classes
