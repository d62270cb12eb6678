"""prune: a model with fewer channels that answers alike in every format, or zeros that are called what they are."""

import json
import os
import shutil
import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.artifacts import Prepared, Pruned
from pipeline.compression.pruning import size_of
from pipeline.compression.sparsity import KeepZeros
from pipeline.exporting.formats import RUNTIME, export
from pipeline.training.deployed import answers, joined
from pipeline.training.hooks import Hook
from pipeline.training.weights import load
from serving.predictor import Predictor
from tests.compression.pruned_nets import RESIDUAL
from tests.conftest import Project

SHORT = ("train.epochs=2", "train.threads=1", "prune.epochs=2", "prune.lr=3e-3", "prune.round_to=4", "train.batch_size=128")
MODELS = {
    "mlp": "{name: mlp, hidden: [24, 12]}",
    "cnn": "{name: cnn, channels: [8, 8], hidden: 16}",
    "resnet": "{name: resnet, channels: [8, 16]}",
    "custom": "{name: custom, file: net.py, class: Residual, args: {width: 8}}",
}


def digits(project: Project, model: str) -> tuple[str, ...]:
    (project.folder / "digits.yaml").write_text(f"data: {{source: digits}}\nmodel: {MODELS[model]}\n")
    (project.folder / "net.py").write_bytes(RESIDUAL)
    return SHORT


def pruned(project: Project, *words: str, model: str = "mlp") -> tuple[dict[str, Any], Pruned, str]:
    """Run the stage; return what prune.json says, the artifact, and the last line on the terminal."""
    code, out, err = project.run("prune", *digits(project, model), *words, config="digits.yaml")
    assert (code, err) == (0, [])
    artifact = Pruned.open(project.latest / "prune")
    return artifact.read_json("prune.json"), artifact, out[-1]


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_pruned_model_is_smaller_as_reported_and_answers_alike_in_both_formats(project: Project, model: str) -> None:
    report, artifact, told = pruned(project, model=model)
    source = artifact.source()
    before = load((project.latest / "train" / "best.pt").read_bytes(), source=source)
    net = load(artifact.read("best.pt"), source=source)
    for one, said in ((before, report["before"]["size"]), (net, report["after"]["size"])):
        size = size_of(one, torch.randn(3, 8, 8))
        assert said == {"parameters": size.parameters, "stored_bytes": size.stored_bytes, "macs": size.macs, "uncounted": []}
    assert report["after"]["size"]["stored_bytes"] < report["before"]["size"]["stored_bytes"]
    assert report["after"]["size"]["macs"] < report["before"]["size"]["macs"]
    assert len(artifact.read("best.pt")) < (project.latest / "train" / "best.pt").stat().st_size * 1.05
    for layer, width in report["layers"].items():
        assert len(net.get_parameter(f"{layer}.weight")) == width["after"] <= width["before"]
    assert any(width["after"] < width["before"] for width in report["layers"].values())
    assert f"{report['before']['size']['parameters']:,} -> {report['after']['size']['parameters']:,} parameters" in told
    assert_both_formats_answer_alike(Prepared.open(project.latest / "prepare"), artifact, source)


def assert_both_formats_answer_alike(prepared: Prepared, artifact: Pruned, source: bytes | None) -> None:
    deployable = joined(prepared, artifact.read("best.pt"), source=source)
    inputs, targets = prepared.split("validation")
    expected = answers(deployable, inputs)
    assert expected.shape == (len(targets), 10)
    assert (expected.argmax(1) == targets).mean() == pytest.approx(artifact.manifest.metrics["val/accuracy"], abs=1e-6)
    for form in ("onnx", "torchscript"):
        payload = export(deployable, torch.from_numpy(inputs[:2]), form)
        predictor = Predictor(payload, schema=prepared.schema, runtime=RUNTIME[form])
        for size in (1, 7, len(inputs)):
            np.testing.assert_allclose(predictor.predict(inputs[:size]), expected[:size], atol=1e-5)


def test_steps_cut_a_little_and_train_on_each_time_and_the_history_has_them_all(project: Project) -> None:
    report, artifact, _ = pruned(project, "prune.steps=2", "prune.round_to=1", "prune.scope=layer", "prune.amount=0.75")
    sizes = [step["size"]["parameters"] for step in report["steps"]]
    assert report["before"]["size"]["parameters"] > sizes[0] > sizes[1] == report["after"]["size"]["parameters"]
    assert report["layers"]["layers.1"] == {"before": 24, "after": 6}
    lines = [json.loads(line) for line in artifact.read("history.jsonl").splitlines()]
    assert [(line["prune_step"], line["epoch"]) for line in lines] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    best = min(line["val/loss"] for line in lines[2:])
    assert report["after"]["validation"]["loss"] == pytest.approx(best, rel=1e-4)
    assert {path.name for path in artifact.folder.iterdir()} >= {"best.pt", "history.jsonl", "prune.json"}
    assert not list(artifact.folder.glob("step-*")), "nothing of the trainings in between is left"


def test_layers_that_are_to_stay_whole_do_and_the_others_give_what_is_asked_for(project: Project) -> None:
    report, artifact, _ = pruned(project, "prune.whole=[layers.1]", "prune.amount=0.5", "prune.round_to=1")
    assert report["layers"] == {
        "layers.1": {"before": 24, "after": 24},
        "layers.4": {"before": 12, "after": 6},
        "layers.7": {"before": 10, "after": 10},
    }
    assert "prune.whole names it" in report["whole"]["layers.1"]
    assert_both_formats_answer_alike(Prepared.open(project.latest / "prepare"), artifact, None)


@pytest.mark.parametrize("importance", ["taylor", "random"])
def test_what_needs_gradients_or_chance_prunes_and_the_same_seed_prunes_the_same(project: Project, importance: str) -> None:
    words = (f"prune.importance={importance}", "prune.epochs=0")
    _, artifact, told = pruned(project, *words, model="cnn")
    assert f"  {importance}: " in told
    assert "trained on" not in told, "without epochs there was no training"
    first = artifact.read("best.pt")
    shutil.rmtree(artifact.folder)
    assert project.run("prune", *SHORT, *words, config="digits.yaml")[0] == 0
    assert Pruned.open(project.latest / "prune").read("best.pt") == first


def test_an_amount_that_rounding_leaves_nothing_of_is_refused(project: Project) -> None:
    words = digits(project, "mlp")
    code, _, err = project.run(
        "prune", *words, "prune.amount=0.05", "prune.round_to=8", "prune.scope=layer", config="digits.yaml"
    )
    assert code == 3
    assert len(err) == 1
    listed = "layers.1 (24, in multiples of 8), layers.4 (12, in multiples of 4)"
    assert f"an amount of 0.05 takes no channel out of {listed}" in err[0]
    assert "raise prune.amount, or set prune.round_to=1" in err[0]
    assert not (project.latest / "prune").exists()


def test_a_rate_that_is_too_high_ends_with_the_stage_and_the_key_to_lower(project: Project) -> None:
    words = (*digits(project, "mlp"), "prune.lr=1e30", "train.optimizer.name=sgd")
    code, _, err = project.run("prune", *words, config="digits.yaml")
    assert (code, len(err)) == (4, 1)
    assert err[0].startswith("prune: epoch ")
    assert "lower prune.lr" in err[0]


def test_a_cut_that_training_on_would_ruin_is_kept_and_the_summary_says_so(project: Project) -> None:
    report, artifact, told = pruned(project, "prune.lr=1.0", "prune.amount=0.1", "prune.round_to=1")
    (step,) = report["steps"]
    assert step["kept"] == "cut"
    assert report["after"]["validation"] == step["cut"] != step["trained"]
    assert artifact.manifest.metrics["val/loss"] == step["cut"]["loss"] < step["trained"]["loss"]
    assert "training on made it worse, so the cut is kept; lower prune.lr" in told
    assert_both_formats_answer_alike(Prepared.open(project.latest / "prepare"), artifact, None)


def test_a_last_step_that_cuts_nothing_leaves_the_training_before_it_told(project: Project) -> None:
    words = ("model.hidden=[24]", "prune.steps=2", "prune.scope=layer", "prune.amount=0.2")
    report, artifact, told = pruned(project, *words)
    assert [step["number"] for step in report["steps"]] == [1]
    assert report["layers"]["layers.1"] == {"before": 24, "after": 20}
    assert "1 of 2 steps took channels out" in told
    lines = [json.loads(line) for line in artifact.read("history.jsonl").splitlines()]
    journal = [json.loads(line) for path in project.latest.rglob("journal*.jsonl") for line in path.read_text().splitlines()]
    records = [one for one in journal if one["stage"] == "prune"]
    shown = [one["values"]["val/loss"] for one in records if one["kind"] == "metrics" and one["step"] is not None]
    assert shown == [line["val/loss"] for line in lines]
    events = [one["values"] for one in records if one["kind"] == "event"]
    assert [one["what"] for one in events if one["name"] == "working_on"] == ["cut 1 of 2", "cut 2 of 2"]
    assert [(one["best"], one["mode"]) for one in events if one["name"] == "work_started"] == [("val/loss", "min")]


def test_rounding_that_takes_much_less_than_was_asked_is_told(project: Project) -> None:
    _, _, told = pruned(project, "model.hidden=[24]", "prune.round_to=16")
    assert "33% of the channels went instead of 50%, since widths are rounded; prune.round_to=1 rounds less" in told


BY_WIDTH_IN_TRAINING = """
import torch
from torch import nn
class Residual(nn.Module):
    def __init__(self, input_shape, outputs, width):
        super().__init__()
        self.width, self.layer, self.out = width, nn.Linear(64, width), nn.Linear(width, outputs)
    def forward(self, inputs):
        out = torch.relu(self.layer(inputs.flatten(1)))
        return self.out(out * torch.ones(self.width) if self.training else out)
"""


def test_a_forward_that_counts_on_a_width_only_in_training_is_refused_and_zeros_are_offered(project: Project) -> None:
    words = digits(project, "custom")
    (project.folder / "net.py").write_text(BY_WIDTH_IN_TRAINING)
    code, _, err = project.run("prune", *words, config="digits.yaml")
    assert (code, len(err)) == (3, 1)
    assert err[0].startswith("prune: without the channels a training step fails on rows of shape ")
    assert "forward() depends on widths in a way that was not seen; set prune.method=unstructured" in err[0]


UNTRACEABLE = """
from torch import nn
class Residual(nn.Module):
    def __init__(self, input_shape, outputs, width):
        super().__init__()
        self.layer, self.out = nn.Linear(64, width), nn.Linear(width, outputs)
    def forward(self, inputs):
        out = self.layer(inputs.flatten(1))
        return self.out(out if float(out.detach().sum()) > -1e9 else -out)
"""


def test_a_model_that_cannot_be_traced_is_refused_in_one_line_and_zeros_are_offered(project: Project) -> None:
    words = digits(project, "custom")
    (project.folder / "net.py").write_text(UNTRACEABLE)
    code, _, err = project.run("prune", *words, "train.sanity=false", config="digits.yaml")
    assert code == 3
    assert len(err) == 1
    assert "the model cannot be traced, so all of it is left whole" in err[0]
    assert "set prune.method=unstructured" in err[0]


@pytest.mark.parametrize(
    ("words", "share"),
    [
        (("prune.method=unstructured", "prune.amount=0.8", "prune.steps=2"), 0.8),
        (("prune.method=unstructured", "prune.importance=random", "train.ema_decay=0.9"), 0.5),
        (("prune.method=two_of_four", "train.optimizer.name=sgd"), None),
    ],
)
def test_zeros_survive_training_and_are_not_sold_as_speed(project: Project, words: Sequence[str], share: float | None) -> None:
    report, artifact, told = pruned(project, *words, model="cnn")
    net = load(artifact.read("best.pt"))
    weights = [m.weight.detach() for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert report["sparsity"] == pytest.approx(zeros)
    assert zeros == pytest.approx(share or 0.5, abs=0.02)
    assert report["before"]["size"] == report["after"]["size"]
    assert f"sparsity {zeros:.1%}, stored bytes and MACs unchanged, no speed expected" in told
    if share is None:
        assert report["whole"]["features.0.0"] == "it has 1 inputs, fewer than four"
        assert all((weight.movedim(1, -1).reshape(-1, 4) == 0).sum(1).min() >= 2 for weight in weights[1:])


def test_a_layer_that_is_to_stay_whole_and_is_not_there_is_refused_with_those_that_are(project: Project) -> None:
    code, _, err = project.run("prune", *digits(project, "mlp"), "prune.whole=[layers.3]", config="digits.yaml")
    assert (code, err) == (
        2,
        ["prune.whole: the model has no layer 'layers.3' with channels; there are layers.1, layers.4, layers.7"],
    )


def test_settings_without_meaning_are_refused_before_anything_is_trained(project: Project) -> None:
    for words, message in (
        (("prune.method=unstructured", "prune.importance=taylor"), "prune: importance: taylor is of channels, and method=unst"),
        (("prune.method=two_of_four", "prune.amount=0.7"), "prune: amount: 0.7 in 1 steps, but two_of_four zeros half"),
        (("prune.method=two_of_four", "prune.steps=2"), "prune: amount: 0.5 in 2 steps, but two_of_four zeros half"),
        (("prune.method=two_of_four", "prune.importance=random"), "choose among l1, l2"),
        (("prune.method=unstructured", "prune.whole=[layers.1]"), "method=unstructured takes none; leave it out"),
    ):
        code, _, err = project.run("prune", *digits(project, "mlp"), *words, config="digits.yaml")
        assert (code, len(err)) == (2, 1)
        assert message in err[0]
        assert err[0].startswith("command line: ")
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize("model", ["mlp", "custom"])
def test_a_scale_that_no_layer_has_is_refused_in_one_line(project: Project, model: str) -> None:
    words = digits(project, model)
    (project.folder / "net.py").write_text(BY_WIDTH_IN_TRAINING)
    code, _, err = project.run("prune", *words, "prune.importance=bn_scale", config="digits.yaml")
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith("prune.importance: bn_scale needs channels with batch normalization")
    assert err[0].endswith("; set prune.importance=l2")


def test_a_cut_network_has_the_statistics_of_what_reaches_it_before_it_is_trained_on(project: Project) -> None:
    _, artifact, _ = pruned(project, "prune.epochs=0", model="cnn")
    net = load(artifact.read("best.pt"))
    inputs, _ = Prepared.open(project.latest / "prepare").split("train")
    statistics = Prepared.open(project.latest / "prepare").statistics["inputs"]
    images = torch.from_numpy((inputs - np.float32(statistics["shift"])) / np.float32(statistics["scale"]))
    reaching: list[torch.Tensor] = []
    convolution, norm = net.get_submodule("features.0.0"), net.get_submodule("features.0.1")
    convolution.register_forward_hook(lambda _, __, output: reaching.append(output))
    with torch.no_grad():
        net(images)
    assert isinstance(norm.running_mean, torch.Tensor)
    torch.testing.assert_close(norm.running_mean, reaching[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_with_a_teacher_the_cut_network_comes_nearer_to_the_whole_one_s_answers(project: Project) -> None:
    distances = []
    for weight in ("0.0", "1.0"):
        _, artifact, _ = pruned(project, f"prune.teacher_weight={weight}", "prune.epochs=10", "train.epochs=1")
        prepared = Prepared.open(project.latest / "prepare")
        inputs, _ = prepared.split("validation")
        whole = joined(prepared, (project.latest / "train" / "best.pt").read_bytes(), source=None)
        given, found = (
            np.log(answers(net, inputs)) for net in (whole, joined(prepared, artifact.read("best.pt"), source=None))
        )
        distances.append(float((np.exp(given) * (given - found)).sum(1).mean()))
    # After one epoch the whole model is in doubt about rows that the labels make the pruned one sure of.
    assert distances[1] < 0.5 * distances[0]


def test_what_a_killed_attempt_left_is_gone_at_the_next_start(project: Project) -> None:
    words = digits(project, "mlp")
    assert project.run("train", *words, config="digits.yaml")[0] == 0
    left = project.latest / "prune.partial" / "step-killed"
    left.mkdir(parents=True)
    (left / "best.pt").write_bytes(b"half")
    assert project.run("prune", *words, config="digits.yaml")[0] == 0
    assert not left.parent.exists()
    assert not any(name.startswith("step-") for name in Pruned.open(project.latest / "prune").manifest.makes)


def test_a_signal_ends_the_stage_with_130_and_leaves_no_artifact(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    words = digits(project, "mlp")
    assert project.run("train", *words, config="digits.yaml")[0] == 0
    monkeypatch.setattr(KeepZeros, "on_fit_start", lambda hook, state: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(KeepZeros, "on_gradients", Hook.on_gradients)
    code, _, err = project.run("prune", *words, "prune.method=unstructured", config="digits.yaml")
    assert (code, len(err)) == (130, 1)
    assert "prune: stopped by SIGTERM; give the command again to start it anew" in err[0]
    assert not (project.latest / "prune").exists()
