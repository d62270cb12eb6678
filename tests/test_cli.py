"""The command line: exit codes, one line for each fault, and an answer before torch could have been imported."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.stages import STAGES
from pipeline.training.report import Report
from pipeline.training.state import FitState
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
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["config"],
        ["train", "--config", "nope.yaml"],
        ["train", "x"],
        ["sanity", "--config", "nope.yaml"],
        ["lr-find", "--help"],
    ],
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


@pytest.mark.parametrize("command", ["train", "sanity", "lr-find"])
def test_a_command_without_a_config_says_which_option_is_missing(project: Project, command: str) -> None:
    code, _, err = project.run(command, config=None)
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


class Ends(Report):
    """Ends a training after its second epoch, as a terminal does."""

    def on_epoch_end(self, state: FitState) -> None:
        super().on_epoch_end(state)
        if state.epoch == 2:
            signal.raise_signal(signal.SIGINT)


def interrupted(project: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Leave a run whose training can be resumed."""
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.train.Report", Ends)
        code, _, err = project.run("train", *words)
    assert code == 130
    assert err[0].startswith("train: stopped by SIGINT in epoch 2 ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_training_saves_the_step_and_the_printed_command_goes_on_to_the_end(project: Project, number: int) -> None:
    folder = project.folder
    project.run("prepare")
    process = start(folder, "train", "--config", "quick.yaml", "train.epochs=400", "train.early_stopping.patience=null")
    deadline = time.monotonic() + 60
    while not list(folder.glob("runs/*/train.partial/history.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    (line,) = errors.splitlines()
    assert line.startswith(f"train: stopped by {signal.Signals(number).name} in epoch ")
    assert not list(folder.glob("runs/*/train"))
    command, *words = line.partition("go on with: python -m pipeline ")[2].split()
    code, _, err = project.run(command, *words, config=None)
    assert (code, err) == (0, [])
    journal = next(folder.glob("runs/*-quick-*/journal.jsonl"))
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for name in ("val/loss", "cost/share", "val/recall/setosa"):
        steps = [record["step"] for record in records if record["kind"] == "metrics" and name in record["values"]]
        assert [step for step in steps if step] == list(range(1, 401)), f"{name}: every epoch is in the journal once"


@pytest.mark.parametrize("command", ["train", "sanity"])
def test_an_impatient_ctrl_c_after_the_first_one_adds_no_traceback(tmp_path: Path, command: str) -> None:
    (tmp_path / "quick.yaml").write_text(QUICK)
    (tmp_path / "mlflow.yaml").write_text("tracking_uri: null\n")
    words = (command, "--config", "quick.yaml", "train.epochs=100000", "train.early_stopping.patience=null")
    with start(tmp_path, *words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("prepare"), "the first line tells that work has begun"
        process.send_signal(signal.SIGINT)
        said = process.stderr.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.002)
        assert process.returncode == 130
        assert said.startswith(("interrupted; ", "train: stopped by SIGINT"))
        assert process.stderr.read() == ""


def test_more_threads_than_cores_are_refused_before_anything_is_trained_for_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.choose.usable_cores", lambda: 2)
    code, out, err = project.run("select", "benchmark.threads=3")
    assert (code, out) == (2, [])
    (line,) = err
    assert line.startswith("benchmark.threads: 3, but this process may use 2 cores: ")
    assert line.endswith("; set 2 or less")
    assert not (project.folder / "runs").exists()
    assert project.run("prepare", "benchmark.threads=3")[0] == 0, "who measures nothing may set anything"


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("benchmark.batch_sizes=[8, 1, 8]", "benchmark.batch_sizes: [8, 1, 8] names 8 twice; name it once"),
        ("benchmark.precisions=[fp32, fp32]", "benchmark.precisions: ['fp32', 'fp32'] names fp32 twice; name it once"),
        ("benchmark.batch_sizes=[1, 65537]", "benchmark.batch_sizes.1: must be less than or equal to 65536 (value 65537)"),
        (
            f"benchmark.batch_sizes={list(range(1, 18))}",
            "benchmark.batch_sizes: has 17 sizes, and each is measured by itself; name 16 or fewer",
        ),
    ],
)
def test_a_measurement_without_meaning_or_end_is_one_line(project: Project, word: str, fault: str) -> None:
    assert project.run("config", word) == (2, [], [f"command line: {fault}"])
    assert project.run("config", "benchmark.batch_sizes=[1, 65536]")[0] == 0


def test_a_resume_with_another_setting_is_refused_with_the_key_unless_forced(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(project, monkeypatch, "train.early_stopping.patience=null", "train.epochs=100000")
    words = ("train.early_stopping.patience=null", "train.epochs=20", "--resume")
    difference = "train.epochs was 100000 in the interrupted run and is 20 now"
    line = f"train --resume: {difference}; set it back, or accept it with --force"
    assert project.run("train", *words) == (2, [], [line])
    code, _, err = project.run("train", *words, "--force")
    assert (code, err) == (0, [])
    assert len((project.latest / "train/history.jsonl").read_text().splitlines()) == 20


def test_options_that_would_mean_nothing_are_refused(project: Project) -> None:
    code, _, err = project.run("train", "--force")
    assert (code, err) == (2, ["command line: --force: goes with --resume, which is missing"])
    code, _, err = project.run("resume-check", "--kills", "0")
    assert (code, err) == (2, ["command line: --kills: must be 1 or more, or nothing is proven (value 0)"])


def test_resume_without_an_interrupted_run_says_so(project: Project) -> None:
    code, _, err = project.run("train", "--resume")
    assert (code, err) == (2, ["train --resume: no interrupted run of 'quick' below runs/; start one without --resume"])
    project.run("train")
    code, _, err = project.run("train", "--resume", "--run", "latest")
    assert code == 2
    run = project.latest.name
    code, _, err = project.run("train", "--resume", "--run", run)
    assert err == [f"train --resume: run {run} is complete, or never began to train; start one without --resume"]


# Long enough for two kills: with this seed, each comes within a tenth of a second after a checkpoint.
_LONG = ("--seed", "28", "train.epochs=200", "train.early_stopping.patience=null")


def test_resume_check_proves_a_config(project: Project) -> None:
    code, lines, err = project.run("resume-check", "--kills", "2", *_LONG, "model.dropout=0.2")
    assert code == 0, err
    assert len([line for line in lines if line.startswith("killed")]) == 2
    assert lines[-1].startswith("OK: ")
    assert lines[-1].endswith("after 2 kills")


def test_sanity_prepares_the_rows_and_passes_a_model_that_is_in_order(project: Project) -> None:
    code, out, err = project.run("sanity")
    assert (code, err) == (0, [])
    assert out[0].startswith("prepare ")
    assert out[-1] == "sanity: 11 passed, 0 warned, 0 failed"
    assert all(line.startswith("PASS  ") for line in out[1:-1])
    assert not (project.folder / "runs").exists(), "a look makes no run"


def test_lr_find_says_a_command_that_trains_with_what_it_found(project: Project) -> None:
    code, out, err = project.run("lr-find", "seed=3", "train.lr=0.3")
    assert (code, err) == (0, [])
    command = shlex.split(next(line for line in out if line.startswith("use it")).removeprefix("use it").strip())
    assert command[:6] == ["python", "-m", "pipeline", "train", "--config", "quick.yaml"]
    assert command[6] == "seed=3"
    code, _, err = project.run("train", *command[6:])
    assert (code, err) == (0, [])
    shown = yaml.safe_load((project.latest / "config.yaml").read_text())
    assert 1e-3 < shown["train"]["lr"] < 0.3, "the rate that was asked about is replaced by the one that was found"


def test_the_picture_of_lr_find_is_no_run(project: Project) -> None:
    _, out, _ = project.run("lr-find")
    picture = Path(next(line for line in out if line.startswith("picture")).split()[1])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.parent == Path("runs", "lr-find")
    code, _, err = project.run("export", "--run", "lr-find")
    assert code == 2
    assert "there is no such run" in err[0]
    assert project.run("train")[0] == 0
