"""The command line: exit codes, one line for each fault, and an answer before torch could have been imported."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.stages import STAGES
from tests.conftest import QUICK, ROOT, Project

HEAVY = ("torch", "mlflow", "sklearn", "matplotlib", "onnx", "onnxruntime", "flask", "rich", "tensorboard")


def test_a_wrong_key_and_a_wrong_value_are_two_lines_and_exit_2() -> None:
    words = ["train", "--config", "configs/digits.yaml", "train.epoch=5", "train.lr=-1"]
    done = subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert any("did you mean 'epochs'" in line for line in lines)
    assert any("train.lr: must be greater than 0 (value -1)" in line for line in lines)


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["config"], ["train", "--config", "nope.yaml"], ["train", "x"]]
)
def test_help_and_faults_appear_without_importing_anything_heavy(words: list[str]) -> None:
    code = (
        "import sys; from pipeline.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert time.perf_counter() - started < 5, "a tenth of that on a quiet machine"


@pytest.mark.parametrize("stage", [stage.name for stage in STAGES])
def test_every_stage_explains_itself(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.cli import main

    with pytest.raises(SystemExit) as caught:
        main([stage, "--help"])
    assert caught.value.code == 0
    assert f"{stage}: " in capsys.readouterr().out


def test_a_stage_without_a_config_says_which_option_is_missing(project: Project) -> None:
    code, _, err = project.run("train", config=None)
    assert code == 2
    assert err == ["command line: --config: which configuration? for example --config configs/digits.yaml"]


def test_config_prints_what_a_stage_would_see(project: Project) -> None:
    code, out, _ = project.run("config", "train.lr=0.5")
    assert code == 0
    shown = yaml.safe_load("\n".join(out))
    assert (shown["name"], shown["train"]["lr"], shown["train"]["epochs"]) == ("quick", 0.5, 3)
    code, out, _ = project.run("config", "--schema", config=None)
    assert json.loads("\n".join(out))["properties"]["train"]


def test_a_fault_in_mlflow_yaml_is_found_before_any_work(project: Project) -> None:
    (project.folder / "mlflow.yaml").write_text("experimnt: x\n")
    code, out, err = project.run("train")
    assert (code, out) == (2, [])
    assert err == ["mlflow.yaml:1: experimnt: unknown key (value 'x'); did you mean 'experiment'?"]


def test_the_mlflow_ui_without_a_store_says_what_to_write(project: Project) -> None:
    code, _, err = project.run("mlflow", config=None)
    assert code == 2
    assert "tracking_uri is null" in err[0]


def test_a_folder_that_cannot_be_written_is_one_line(project: Project) -> None:
    (project.folder / "runs").write_text("a file where a folder should be")
    code, _, err = project.run("train")
    assert code == 2
    assert len(err) == 1
    assert "runs" in err[0]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_in_training_ends_with_130_and_one_line_and_the_next_command_works(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text(QUICK)
    (tmp_path / "mlflow.yaml").write_text("tracking_uri: null\n")
    process = start(tmp_path, "train", "--config", "quick.yaml", "train.epochs=100000", "train.early_stopping.patience=null")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/train.partial/history.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines() == ["interrupted; what was complete is kept, run the same command to go on"]
    assert not list(tmp_path.glob("runs/*/train"))
    process = start(tmp_path, "train", "--config", "quick.yaml")
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
