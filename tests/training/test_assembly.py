"""What `auto` becomes, what memory allows, and what number types and compilation do to a training."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artifacts import Prepared
from pipeline.config import Config, load
from pipeline.errors import GateRefused, UserError
from pipeline.training import fit, tuning
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.setup import autocast_type
from tests.conftest import Finished, Project

SHORT_OF_MEMORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, outputs, most=8):
        super().__init__()
        self.layer, self.most = nn.Linear(input_shape[0], outputs), most

    def forward(self, inputs):
        if self.training and len(inputs) > self.most:
            raise torch.OutOfMemoryError(f"no memory for {len(inputs)} rows")
        return self.layer(inputs)
"""


@pytest.fixture
def iris(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.chdir(tmp_path)
    return finished.prepared


def config(*words: str) -> Config:
    return load(None, ["data.source=iris", "train.threads=1", *words])


def trained(parts: Assembly, nonfinite: Any = "stop") -> Assembly:
    rows = parts.rows
    fit(parts.state, rows.train, rows.validation, parts.objective, seed=0, options=parts.options, nonfinite=nonfinite)
    return parts


def test_a_step_that_does_not_fit_is_computed_in_parts_and_gives_the_same_training(iris: Prepared) -> None:
    custom = ["model={name: custom, file: net.py, class: Net}", "train.epochs=3", "train.batch_size=30"]
    source = SHORT_OF_MEMORY.encode()
    whole = trained(assemble(config(*custom, "model.args={most: 1000}"), iris, source=source))
    parts = trained(assemble(config(*custom, "train.accumulate=auto"), iris, source=source))
    assert (parts.choices["batch_size"], parts.choices["accumulate"]) == (30, 4)
    for one, other in zip(whole.state.history, parts.state.history, strict=True):
        assert one["val/loss"] == pytest.approx(other["val/loss"], rel=1e-4)


def test_memory_that_runs_out_in_the_middle_halves_the_parts_once_more_and_training_goes_on(iris: Prepared) -> None:
    custom = [
        "model={name: custom, file: net.py, class: Net, args: {most: 1000}}",
        "train.accumulate=auto",
        "train.batch_size=24",
    ]
    parts = assemble(config(*custom, "train.epochs=2"), iris, source=SHORT_OF_MEMORY.encode())
    assert parts.state.parts == 1
    parts.state.net.most = 8  # type: ignore[assignment]
    trained(parts)
    assert (parts.state.parts, parts.state.epoch) == (4, 2)


def test_without_auto_memory_that_does_not_suffice_is_one_line_that_says_what_to_set(iris: Prepared) -> None:
    custom = "model={name: custom, file: net.py, class: Net}"
    message = "train.batch_size: a step of 32 rows in 1 part does not fit into memory: .*no memory for 32 rows; set train.acc"
    with pytest.raises(UserError, match=message):
        assemble(config(custom), iris, source=SHORT_OF_MEMORY.encode())
    assert assemble(config(custom, "train.batch_size=auto"), iris, source=SHORT_OF_MEMORY.encode()).choices["batch_size"] == 8


@pytest.mark.parametrize(("rows", "size"), [(10, 16), (98, 16), (1168, 32), (16_512, 512), (60_000, 1024), (10**7, 1024)])
def test_batch_size_auto_is_a_power_of_two_of_about_forty_steps(rows: int, size: int) -> None:
    assert tuning.batch_size_for("auto", rows) == size
    assert tuning.batch_size_for(7, rows) == 7


def test_a_measured_choice_is_made_once_for_a_machine_and_a_subject(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, Any]:
        calls.append(1)
        return {"threads": len(calls)}

    first, again, other = (tuning.remembered(tmp_path, subject, measure) for subject in ("a", "a", "b"))
    assert (first["threads"], again["threads"], other["threads"]) == (1, 1, 2)
    assert again["remembered"] is True
    for path in tmp_path.iterdir():
        path.write_text("{")
    assert tuning.remembered(tmp_path, "a", measure) == {"threads": 3}, "a damaged file is measured anew"


def test_a_short_step_keeps_one_thread_and_the_number_of_threads_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    assert tuning.choose_threads(lambda: None)["threads"] == 1
    assert torch.get_num_threads() == before
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    clock = {1: 0.010, 2: 0.006, 4: 0.0055, 8: 0.002}
    monkeypatch.setattr(tuning, "seconds_of", lambda step: clock[torch.get_num_threads()])
    assert tuning.choose_threads(lambda: None) == {"threads": 8, "ms": {"1": 10.0, "2": 6.0, "4": 5.5, "8": 2.0}}
    clock[8] = 0.005
    assert tuning.choose_threads(lambda: None)["threads"] == 2, "twice the threads must pay for themselves"


def test_compiling_is_tried_only_where_training_would_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = (lambda: None), (lambda: None)
    assert tuning.worth_compiling(slow, fast, steps=10)["compile"] is False
    monkeypatch.setattr(tuning, "seconds_of", lambda step: 0.1 if step is slow else 0.05)
    assert tuning.worth_compiling(slow, fast, steps=10_000)["compile"] is True

    def broken() -> None:
        raise RuntimeError("no C++ compiler found")

    choice = tuning.worth_compiling(slow, broken, steps=10_000)
    assert choice == {"compile": False, "why": "compiling failed: no C++ compiler found"}
    with pytest.raises(UserError, match="train.compile: torch.compile fails here: no C\\+\\+ compiler found; set it to false"):
        tuning.check_compiles(broken)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_learns_in_half_precision_and_its_weights_stay_float32(iris: Prepared, precision: str) -> None:
    words = [f"train.precision={precision}", "train.epochs=30", "train.lr=0.02", "train.nonfinite=stop"]
    parts = trained(assemble(config(*words), iris))
    assert parts.state.history[-1]["val/accuracy"] > 0.85
    assert all(p.dtype == torch.float32 for p in parts.state.net.parameters())
    assert (parts.state.scaler is not None) == (precision == "fp16")


def test_a_loss_scale_that_is_too_large_costs_a_step_and_shrinks(iris: Prepared) -> None:
    parts = assemble(config("train.precision=fp16", "train.epochs=1"), iris)
    assert parts.state.scaler is not None
    parts.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    trained(parts)
    assert parts.state.history[0]["train/skipped_steps"] > 0
    assert parts.state.scaler.get_scale() < 2.0**60


def test_auto_precision_on_a_cpu_is_float32() -> None:
    assert autocast_type("auto", torch.device("cpu")) is None
    with pytest.raises(UserError, match="train.precision: fp16 needs a loss scale"):
        autocast_type("fp16", torch.device("mps"))


def test_trying_things_out_changes_no_bit_of_training(iris: Prepared) -> None:
    first = trained(assemble(config("train.epochs=2", "train.threads=auto"), iris)).state.flat.weights
    again = trained(assemble(config("train.epochs=2", "train.threads=1"), iris)).state.flat.weights
    assert torch.equal(first, again)


def test_with_balanced_sampling_rare_classes_come_as_often_as_others(iris: Prepared) -> None:
    parts = assemble(config("train.sampling=balanced"), iris)
    counts = torch.zeros(3)
    for epoch in range(40):
        for _, targets in parts.rows.train.shuffled(seed=0, epoch=epoch):
            counts += torch.bincount(targets, minlength=3)
    assert (counts / counts.sum()).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


NOISY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], outputs)

    def forward(self, inputs):
        return self.layer(inputs) + torch.randn(len(inputs), 3)
"""


def test_a_model_whose_best_checkpoint_does_not_answer_as_it_did_is_refused(project: Project) -> None:
    (project.folder / "net.py").write_text(NOISY)
    words = ["model={name: custom, file: net.py, class: Net}", "train.epochs=2", "train.sanity=false"]
    code, _, errors = project.run("train", *words)
    assert code == GateRefused("").exit_code
    assert "best.pt, read back, has val/loss" in errors[-1]
    assert "depend on more than its weights and its input" in errors[-1]


def test_top_epochs_stay_on_disk_and_in_the_manifest(project: Project) -> None:
    assert project.run("train", "train.epochs=5", "train.keep_top=3")[0] == 0
    train = project.latest / "train"
    history = [json.loads(line) for line in (train / "history.jsonl").read_text().splitlines()]
    best = sorted(history, key=lambda line: line["val/loss"])[:3]
    names = {f"top/epoch-{line['epoch']:04d}.pt" for line in best}
    assert {path.relative_to(train).as_posix() for path in train.glob("top/*")} == names
    assert names <= set(json.loads((train / "manifest.json").read_text())["makes"])
    assert (train / f"top/epoch-{best[0]['epoch']:04d}.pt").read_bytes() == (train / "best.pt").read_bytes()


def test_the_journal_says_what_auto_chose(project: Project) -> None:
    assert project.run("train", "train.epochs=1", "train.threads=auto")[0] == 0
    records = [json.loads(line)["values"] for line in (project.latest / "journal.jsonl").read_text().splitlines()]
    choices = next(values for values in records if values.get("name") == "choices")
    assert choices["threads"]["threads"] >= 1
    assert choices["batch_size"] == 32
    assert list((project.folder / "data" / "tuning").glob("*.json"))


def test_rows_can_be_streamed_from_disk_through_the_real_command(project: Project) -> None:
    words = ["train.in_memory=false", "train.epochs=20", "train.lr=0.02"]
    assert project.run("export", *words)[0] == 0
    history = [json.loads(line) for line in (project.latest / "train" / "history.jsonl").read_text().splitlines()]
    assert history[-1]["val/accuracy"] > 0.85
    manifest = json.loads((project.latest / "train" / "manifest.json").read_text())
    assert manifest["notes"]["choices"]["in_memory"] is False
    code, _, errors = project.run("train", "train.in_memory=false", "train.sampling=balanced")
    assert code == 2
    assert errors == [
        "train.sampling: balanced draws rows from all of the data, which is streamed here; use loss.class_weights"
    ]


def test_one_seed_gives_one_model_with_augmentation_and_balanced_sampling_too(project: Project) -> None:
    words = ["data.source=digits", "model={name: cnn, channels: [4], hidden: 8}", "train.epochs=2", "train.sampling=balanced"]
    words += ["augment.rotate_degrees=10", "augment.crop_padding=1", "augment.mixup_alpha=0.2", "augment.erase=0.5"]
    digests = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert project.run("train", f"name={name}", f"seed={seed}", *words)[0] == 0
        digests.append(json.loads((project.latest / "train" / "manifest.json").read_text())["makes"]["best.pt"]["sha256"])
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_training_learns_what_the_plain_one_does(iris: Prepared) -> None:
    words = ["train.epochs=3", "train.lr=0.02"]
    plain, compiled = (trained(assemble(config(*words, f"train.compile={choice}"), iris)) for choice in ("false", "true"))
    assert compiled.choices["compile"]["compile"] is True
    assert torch.allclose(plain.state.flat.weights, compiled.state.flat.weights, atol=1e-3)
