"""export: proven artifacts and a bundle, or a refusal with exit code 3."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from pipeline.artifacts import Exported
from pipeline.config.sections import Format
from pipeline.exporting import formats
from pipeline.models.deployable import Normalize
from pipeline.stages.export import golden_rows
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


def test_an_export_with_another_normalization_is_refused_and_no_bundle_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("train")
    original = formats.export

    def broken(module: nn.Module, example: Tensor, form: Format) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Normalize, "forward", other_normalization)
            return original(module, example, form)

    monkeypatch.setattr("pipeline.stages.export.export", broken)
    code, _, err = project.run("export")
    assert code == 3
    assert len(err) == 2, "one line for each artifact"
    assert "train-fp32.onnx does not answer like the model: largest difference" in err[0]
    assert "validation row" in err[0]
    assert not (project.latest / "export").exists()
    partial = project.latest / "export.partial"
    assert json.loads((partial / "parity.json").read_text())["train-fp32.onnx"]["passed"] is False
    assert not (partial / "bundle").exists()
    events = [json.loads(line)["values"] for line in (project.latest / "journal.jsonl").read_text().splitlines()]
    assert next(event for event in events if event.get("name") == "stage_failed")["reason"] == err[0]


FROZEN = """
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], outputs)
    def forward(self, inputs):
        return self.layer(inputs) if inputs.mean() > 0 else self.layer(-inputs)
"""


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_a_model_with_a_branch_on_data_is_refused_by_each_format(project: Project, form: str) -> None:
    (project.folder / "net.py").write_text(FROZEN)
    words = ("model.name=custom", "model.file=net.py", "model.class=Net", f"export.formats=[{form}]", f"export.bundle={form}")
    code, _, err = project.run("export", *words, "train.sanity=false")  # sanity refuses it before it is trained
    assert code == 3
    assert len(err) == 1
    assert f"the model cannot be written as {form}" in err[0]
    assert (project.latest / "train" / "best.pt").is_file(), "the training is kept"


def test_a_torchscript_bundle_is_made_on_request_and_answers_the_same(project: Project) -> None:
    project.run("export", "export.bundle=torchscript")
    bundle = Bundle(project.latest / "export" / "bundle")
    assert bundle.description.artifact.runtime == "torchscript"
    Predictor.from_bundle(bundle).check(bundle.golden())


def test_one_format_alone_is_enough(project: Project) -> None:
    project.run("export", "export.formats=[onnx]")
    assert sorted(path.suffix for path in (project.latest / "export").iterdir() if path.is_file()) == [
        ".json",
        ".json",
        ".onnx",
    ]


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
