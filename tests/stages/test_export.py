"""export: proven artifacts and a bundle, or a refusal with exit code 3."""

import json
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from pipeline.artifacts import Exported
from pipeline.exporting import formats, torchscript
from pipeline.exporting.bundling import golden_rows
from pipeline.models.deployable import Deployable, Normalize
from pipeline.training.deployed import answers, deployable_of
from serving.bundle import Bundle
from serving.predictor import Predictor
from tests.conftest import ROOT, Finished, Project


def test_both_formats_are_proven_on_every_validation_row_at_every_batch_size(finished: Finished) -> None:
    parity = json.loads(finished.exported.read("parity.json"))
    rows = finished.prepared.manifest.notes["rows"]["validation"]
    assert set(parity) == {"train-fp32.onnx", "train-fp32.torchscript.pt"}
    for proof in parity.values():
        assert proof["passed"] is True
        assert (proof["rows"], proof["batch_sizes"], proof["argmax_agreement"]) == (rows, [1, 7, 64], 1)
        assert proof["max_abs_diff"] < 1e-5


def test_the_bundle_opens_chains_and_answers_like_the_evaluated_model_on_the_test_split(finished: Finished) -> None:
    bundle = finished.exported.open_bundle()
    lineage = bundle.description.lineage
    assert lineage.data == finished.prepared.digest
    assert lineage.checkpoint == finished.model.manifest.makes["best.pt"].sha256
    assert lineage.artifact == finished.exported.manifest.makes["train-fp32.onnx"].sha256 == bundle.digest
    predictor = Predictor.from_bundle(bundle)
    predictor.check(bundle.golden())
    inputs, _ = finished.prepared.split("test")
    expected = answers(deployable_of(finished.prepared, finished.model), inputs)
    np.testing.assert_allclose(predictor.predict(inputs), expected, atol=1e-5)


def test_the_bundle_says_how_good_the_model_is_and_what_train_rows_looked_like(finished: Finished) -> None:
    bundle = finished.exported.open_bundle()
    accuracy = bundle.description.metrics["validation"]["metrics"]["accuracy"]
    assert accuracy["value"] == pytest.approx(finished.model.manifest.metrics["val/accuracy"])
    reference = json.loads(bundle.read("reference.json"))
    assert set(reference["inputs"]) == {feature.name for feature in bundle.description.schema.features}
    for distribution in [*reference["inputs"].values()]:
        assert len(distribution["edges"]) == len(distribution["shares"]) + 1
        assert sum(distribution["shares"]) == pytest.approx(1)
    assert sum(reference["predictions"]["classes"].values()) == pytest.approx(1)


def other_normalization(self: Normalize, raw: Tensor) -> Tensor:
    return (raw - self.shift * 1.05) / self.scale


def other_order(self: Deployable, outputs: Tensor) -> Tensor:
    return torch.softmax(outputs, dim=1).flip(1)


def broken(kind: type[nn.Module], method: str, otherwise: Callable[..., Tensor]) -> Callable[..., bytes]:
    """Return an exporter that writes every file while a method does something else."""

    def wrong(*args: Any, **options: Any) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, method, otherwise)
            return formats.write(*args, **options)

    return wrong


@pytest.mark.parametrize(
    ("kind", "method", "otherwise", "layer"),
    [(Normalize, "forward", other_normalization, "normalize"), (Deployable, "finish", other_order, "finish")],
)
def test_an_export_that_normalizes_otherwise_or_swaps_classes_is_refused_with_row_and_layer_and_no_bundle_is_made(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[nn.Module],
    method: str,
    otherwise: Callable[..., Tensor],
    layer: str,
) -> None:
    project.run("train", "train.epochs=10")
    # The compiler remembers what it has made of a class, from before its method was changed.
    monkeypatch.setattr(torch.jit._recursive, "concrete_type_store", torch.jit._recursive.ConcreteTypeStore())
    monkeypatch.setattr("pipeline.exporting.proving.write", broken(kind, method, otherwise))
    code, _, err = project.run("export", "train.epochs=10", "export.formats=[onnx, torchscript, torch_export]")
    assert code == 3
    assert len(err) == 3, "one line for each artifact"
    for name, line in zip(("train-fp32.onnx", "train-fp32.torchscript.pt", "train-fp32.pt2"), err, strict=True):
        assert line.startswith(f"export: {name} does not answer like the model: largest difference")
        assert re.search(r"validation row \d+ at batch size \d+: model \[", line)
        assert f"; first diverging layer: {layer}; allowed: " in line
    assert not (project.latest / "export").exists()
    partial = project.latest / "export.partial"
    proof = json.loads((partial / "parity.json").read_text())["train-fp32.onnx"]
    assert (proof["passed"], proof["diverges"]) == (False, f"first diverging layer: {layer}")
    assert not (partial / "bundle").exists()
    events = [json.loads(line)["values"] for line in (project.latest / "journal.jsonl").read_text().splitlines()]
    assert next(event for event in events if event.get("name") == "stage_failed")["reason"] == err[0]


BRANCH = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.above, self.below = nn.Linear(input_shape[0], outputs), nn.Linear(input_shape[0], outputs)
    def forward(self, inputs):
        if not hasattr(inputs, "numpy") or inputs.mean() > 0:
            return self.above(inputs)
        return self.below(inputs)
"""
CUSTOM = ("model.name=custom", "model.file=net.py", "model.class=Net", "train.sanity=false")  # sanity refuses it before
TORCHSCRIPT = ("export.formats=[torchscript]", "export.bundle=torchscript")


@pytest.mark.parametrize("words", [(), TORCHSCRIPT])
def test_a_branch_on_data_that_no_way_can_write_is_refused_and_the_training_kept(
    project: Project, words: tuple[str, ...]
) -> None:
    (project.folder / "net.py").write_text(BRANCH)
    code, _, err = project.run("export", *CUSTOM, *words)
    assert code == 3
    assert len(err) == 1
    form = "torchscript" if words else "onnx"
    assert f"the model cannot be written as {form}: forward() takes a branch that depends on the values of the rows" in err[0]
    assert (project.latest / "train" / "best.pt").is_file(), "the training is kept"


BOTH_WAYS = """
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.above, self.below = nn.Linear(input_shape[0], outputs), nn.Linear(input_shape[0], outputs)
    def forward(self, inputs):
        return self.above(inputs) if inputs.norm() >= 0 else self.below(inputs)
"""


def test_a_branch_on_data_in_a_custom_network_is_served_as_torchscript(project: Project) -> None:
    (project.folder / "net.py").write_text(BOTH_WAYS)
    code, _, err = project.run("export", *CUSTOM, *TORCHSCRIPT)
    assert (code, err) == (0, [])
    (one,) = Exported.open(project.latest / "export").listed
    assert one.how == {"by": "torch.jit.script"}


def frozen(module: nn.Module, example: Tensor, metadata: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        return torchscript.traced(module, example, metadata)


def test_a_branch_that_tracing_froze_is_refused_with_row_and_layer(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "net.py").write_text(BRANCH)
    monkeypatch.setitem(formats.WAYS, "torchscript", ("torch.jit.trace",))
    monkeypatch.setitem(formats._WRITERS, "torch.jit.trace", frozen)
    code, _, err = project.run("export", *CUSTOM, *TORCHSCRIPT)
    assert code == 3
    assert err[0].startswith("export: train-fp32.torchscript.pt does not answer like the model: ")
    assert re.search(r"validation row \d+ at batch size \d+: ", err[0])
    assert re.search("; first diverging layer: net.(above|below); ", err[0])


def test_a_torchscript_bundle_is_made_on_request_and_answers_the_same(project: Project) -> None:
    project.run("export", "export.bundle=torchscript")
    bundle = Bundle(project.latest / "export" / "bundle")
    assert bundle.description.artifact.runtime == "torchscript"
    Predictor.from_bundle(bundle).check(bundle.golden())


def test_one_format_alone_is_enough(project: Project) -> None:
    project.run("export", "export.formats=[onnx]")
    names = {path.name for path in (project.latest / "export").iterdir() if path.is_file()}
    assert names == {"artifacts.json", "manifest.json", "parity.json", "reproduce.sh", "train-fp32.onnx"}
    (one,) = Exported.open(project.latest / "export").listed
    assert (one.file, one.how) == ("train-fp32.onnx", {"by": "torch.onnx.export"})


def test_torch_export_is_proven_like_the_others_and_never_bundled(project: Project) -> None:
    code, _, _ = project.run("export", "export.formats=[torchscript, torch_export]", "export.bundle=torchscript")
    assert code == 0
    exported = Exported.open(project.latest / "export")
    assert [(one.file, one.how["by"], one.parity["passed"]) for one in exported.listed] == [
        ("train-fp32.torchscript.pt", "torch.jit.trace", True),
        ("train-fp32.pt2", "torch.export.export", True),
    ]
    assert not list(exported.bundle.glob("*.pt2"))


def test_golden_rows_take_turns_over_the_classes_and_span_a_regression_target() -> None:
    targets = np.array([0] * 10 + [1] * 10 + [2])
    assert np.bincount(targets[golden_rows(targets, 6, classes=3)]).tolist() == [3, 2, 1]
    assert len(golden_rows(targets, 100, classes=3)) == len(targets)
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    chosen = values[golden_rows(values, 5, classes=0)]
    assert (len(chosen), chosen.min(), chosen.max()) == (5, values.min(), values.max())


def test_golden_rows_show_every_label_and_rows_without_one_and_the_range_of_each_value() -> None:
    targets = np.zeros((100, 3), dtype=np.float32)
    targets[:90, 0] = 1
    targets[50:60, 1] = 1
    targets[97, 2] = 1
    chosen = golden_rows(targets, 8, classes=3)
    assert len(chosen) == 8
    assert (targets[chosen].sum(axis=0) >= [3, 2, 1]).all()
    assert (targets[chosen].sum(axis=1) == 0).sum() >= 2
    values = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    few = values[golden_rows(values, 6, classes=0)]
    assert len(few) <= 6
    assert few.min(axis=0).tolist() == values.min(axis=0).tolist()
    assert few.max(axis=0).tolist() == values.max(axis=0).tolist()


def test_the_bundle_holds_nothing_but_its_own_files(finished: Finished) -> None:
    names = {path.name for path in finished.exported.bundle.iterdir()}
    assert names == {"bundle.json", "golden.json", "reference.json", "train-fp32.onnx"}
    for path in finished.exported.folder.rglob("*"):
        if path.is_file() and "tensorboard" not in path.parts:
            content = path.read_bytes()
            if path.name.endswith(".torchscript.pt"):
                with zipfile.ZipFile(path) as archive:
                    content = b"".join(archive.read(entry) for entry in archive.infolist())
            for place in (ROOT, Path(sys.prefix), finished.folder):
                assert str(place).encode() not in content, f"{path.name} tells where it was made"


def test_two_exports_of_the_same_weights_give_the_same_onnx_file(project: Project) -> None:
    digests = []
    for name in ("a", "b"):
        project.run("export", f"name={name}", "export.formats=[onnx]")
        digests.append(Exported.open(project.latest / "export").manifest.makes["train-fp32.onnx"].sha256)
    assert digests[0] == digests[1]
