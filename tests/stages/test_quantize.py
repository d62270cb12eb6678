"""quantize: integers of 8 bits within a budget, layer by layer back to float where it is missed, nothing dropped in silence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.artifacts import Exported, Model, Quantized
from pipeline.config import load
from pipeline.config.compression_sections import QuantizeConfig
from pipeline.exporting.formats import RUNTIME
from pipeline.stages import Outcome, stage_named
from pipeline.stages.quantize import _outcome, calibration_rows
from pipeline.tracking import Tracker
from serving.files import sha256_of
from serving.predictor import Predictor
from tests.conftest import Finished, Project
from tests.made import Made, _complete
from tests.quantization.spoiled import NAMES, spoil, stage, trained

FILES = ["train-int8.onnx", "train-int8-dynamic.onnx", "train-int8.torchscript.pt"]


def quantized(finished: Finished, folder: Path, *words: str) -> tuple[Outcome, Quantized]:
    (folder / "empty.yaml").write_text("{}")
    config = load(folder / "empty.yaml", ["data.source=iris", *words])
    out = folder / "quantize"
    out.mkdir()
    taken = (finished.prepared, finished.model, None, None, finished.exported)
    outcome = stage_named("quantize").run(config, *taken, out=out, tracker=Tracker("quantize"))
    _complete(out, "quantize")
    return outcome, Quantized.open(out)


def story(made: Quantized) -> dict[str, Any]:
    found: dict[str, Any] = made.read_json(Quantized.QUANTIZATION)
    return found


def test_every_format_and_method_is_made_measured_and_listed(finished: Finished, tmp_path: Path) -> None:
    outcome, made = quantized(finished, tmp_path, "quantize.max_drop=0.1")
    assert "3 int8 artifacts" in outcome.summary
    assert [one.file for one in made.listed] == FILES
    inputs, _ = finished.prepared.split("validation")
    torch.use_deterministic_algorithms(False)  # as in a process that serves; training has set it here
    for one in made.listed:
        predictor = Predictor(made.read(one.file), schema=finished.prepared.schema, runtime=RUNTIME[one.format])
        whole = next(float_one for float_one in finished.exported.listed if float_one.format == one.format)
        expected = Predictor(
            finished.exported.read(whole.file), schema=finished.prepared.schema, runtime=RUNTIME[one.format]
        ).predict(inputs)
        found = predictor.predict(inputs)
        assert (one.variant, one.precision) == ("train", "int8")
        assert one.checkpoint == finished.model.manifest.makes[Model.BEST].sha256
        assert one.parity["max_abs_diff"] == pytest.approx(np.abs(found - expected).max(), abs=1e-6)
        assert 0 < one.parity["max_abs_diff"] < 0.2, "integers answer a little differently"
        assert one.parity["agreement"] == (found.argmax(1) == expected.argmax(1)).mean()
        assert one.how["metric"] == "accuracy"
        assert one.how["drop"] == pytest.approx(one.how["float"] - one.how["int8"])
        assert one.how["weights"] == "trained"
    assert [one.how["method"] for one in made.listed] == ["static", "dynamic", "static"]


def test_the_choice_of_integers_and_of_the_calibration_is_written_down_with_its_reason(
    finished: Finished, tmp_path: Path
) -> None:
    _, made = quantized(finished, tmp_path, "quantize.formats=[onnx]", "quantize.methods=[static]", "quantize.max_drop=0.5")
    told = story(made)
    assert told["arithmetic"]["activations"] == "uint8"
    assert len(told["arithmetic"]["reason"]) > 20
    (search,) = [one["search"] for one in told["artifacts"]]
    tried = {trial["calibration"]: trial["verdict"] for trial in search["calibrations"]}
    assert list(tried) == ["minmax", "entropy", "percentile"]
    best = min(tried, key=lambda name: (max(0.0, round(tried[name]["drop"], 9)), tried[name]["mean_abs_diff"]))
    assert made.listed[0].how["calibration"] == best


def test_calibration_reads_train_rows_only_and_its_seed_draws_them(finished: Finished) -> None:
    train, _ = finished.prepared.split("train")
    known = {row.tobytes() for row in train}
    rows = calibration_rows(finished.prepared, 20, seed=0)
    assert len(rows) == 20
    assert {row.tobytes() for row in rows} <= known
    np.testing.assert_array_equal(rows, calibration_rows(finished.prepared, 20, seed=0))
    assert not np.array_equal(rows, calibration_rows(finished.prepared, 20, seed=1))
    assert len(calibration_rows(finished.prepared, 10_000, seed=0)) == len(train)


def test_two_quantizations_of_the_same_files_give_the_same_onnx_files(finished: Finished, tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _, made = quantized(finished, tmp_path / name, "quantize.formats=[onnx]", "quantize.max_drop=0.1")
        digests.append([sha256_of(made.read(one.file)) for one in made.listed])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 2


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A trained network with one channel that is 1,000 times as large as the others, exported; its answers are as they were."""
    made = trained(tmp_path_factory.mktemp("spoiled"))
    spoil(made)
    stage(made, "export", made.root / "run" / "export")
    return made


def with_words(made: Made, *words: str) -> Made:
    return Made(made.root, made.prepared, (*made.words, *words), made.tracker)


def made_of(made: Made, out: Path, *words: str) -> tuple[Outcome, Quantized]:
    return stage(with_words(made, *words), "quantize", out), Quantized.open(out)


def test_a_model_with_an_outlier_is_recovered_node_by_node_and_the_nodes_in_float_are_named(
    spoiled: Made, tmp_path: Path
) -> None:
    words = ("quantize.max_drop=0.02", "quantize.methods=[static]", "quantize.calibration=[minmax]", "quantize.qat_epochs=0")
    outcome, made = made_of(spoiled, tmp_path / "out", *words)
    assert [one.file for one in made.listed] == ["train-int8.onnx", "train-int8.torchscript.pt"]
    for one, told in zip(made.listed, story(made)["artifacts"], strict=True):
        search = told["search"]
        lost = [step["verdict"]["drop"] for step in search["steps"]]
        assert lost[0] > 0.2, "quantized as a whole, it is no longer worth much"
        assert one.how["drop"] == lost[-1] <= 0.02
        assert {layer for layer, _ in search["sensitivity"][:2]} == set(NAMES), "the layers around the outlier hurt most"
        assert [len(step["float_nodes"]) for step in search["steps"]] == [0, 1, 2], "one by one"
        assert tuple(one.how["float_nodes"]) == NAMES
    assert f"in float: {', '.join(NAMES)}" in outcome.summary


def test_an_artifact_that_needs_too_many_float_nodes_is_rejected_with_its_reason_and_the_stage_goes_on(
    spoiled: Made, tmp_path: Path
) -> None:
    words = (
        "quantize.max_float_share=0.1",
        "quantize.calibration=[minmax]",
        "quantize.qat_epochs=0",
        "quantize.formats=[onnx]",
    )
    outcome, made = made_of(spoiled, tmp_path / "out", *words, "quantize.methods=[static]")
    assert made.listed == []
    assert sorted(made.manifest.makes) == ["artifacts.json", "quantization.json"], "no file of what was rejected"
    (told,) = story(made)["artifacts"]
    assert told["accepted"] is False
    assert told["reason"] in outcome.summary
    assert "no int8 artifact: train-int8.onnx is rejected (trained weights): with 0 of 6 nodes in float the" in outcome.summary
    assert "quantize.max_float_share=0.1" in outcome.summary


def test_training_with_rounding_rescues_what_was_rejected_and_says_so(spoiled: Made, tmp_path: Path) -> None:
    words = ("quantize.max_float_share=0.0", "quantize.calibration=[minmax]", "quantize.formats=[onnx]")
    qat = ("quantize.max_drop=0.2", "quantize.qat_epochs=15", "quantize.qat_lr=1e-2", "quantize.methods=[static]")
    _, made = made_of(spoiled, tmp_path / "out", *words, *qat)
    before, after = story(made)["artifacts"]
    assert (before["weights"], before["accepted"]) == ("trained", False)
    assert (after["weights"], after["accepted"]) == ("qat", True)
    (one,) = made.listed
    assert one.how["weights"] == "qat"
    assert one.how["float_nodes"] == []
    assert one.checkpoint == made.manifest.makes["train-qat/best.pt"].sha256 != before
    assert one.checkpoint != spoiled.model.manifest.makes[Model.BEST].sha256


UNTRACEABLE = """
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], 8)
        self.last = nn.Linear(8, outputs)
    def forward(self, inputs):
        hidden = self.layer(inputs) if len(inputs) else self.layer(-inputs)
        return self.last(hidden.relu())
"""


def test_what_torch_fx_cannot_follow_is_rejected_with_the_reason_and_the_rest_is_made(project: Project) -> None:
    (project.folder / "net.py").write_text(UNTRACEABLE.replace("if len(inputs)", "if len(inputs.shape)"))
    words = ("model.name=custom", "model.file=net.py", "model.class=Net", "quantize.max_drop=0.5")
    code, out, err = project.run("quantize", *words)
    assert code == 0, err
    assert "train-int8.torchscript.pt is rejected (trained weights): torch.fx cannot follow its forward()" in out[-1]
    listed = json.loads((project.latest / "quantize" / "artifacts.json").read_text())
    assert [one["file"] for one in listed] == [name for name in FILES if name != "train-int8.torchscript.pt"]
    assert Exported.open(project.latest / "export").listed


def test_a_file_whose_answers_move_with_the_rows_beside_is_rejected(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = lambda self, predictor, found: np.full(found.shape, 0.7)  # noqa: E731
    monkeypatch.setattr("pipeline.quantization.judge.Judge._batch_effect", moved)
    words = ("quantize.formats=[onnx]", "quantize.methods=[dynamic]", "quantize.max_drop=0.5")
    outcome, made = quantized(finished, tmp_path, *words)
    assert made.listed == []
    assert "its answers to a row depend on the rows beside it (by up to 0.7" in outcome.summary
    assert [one["weights"] for one in story(made)["artifacts"]] == ["trained"], "training would not mend it"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"methods": ("static", "static")}, "names a method twice"),
        ({"formats": ("onnx", "onnx")}, "names a format twice"),
        ({"calibration": ("minmax", "minmax")}, "names a calibration twice"),
        ({"methods": ("dynamic",), "formats": ("torchscript",)}, "dynamic is for onnx alone"),
    ],
)
def test_what_is_named_twice_or_would_make_nothing_is_refused(words: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        QuantizeConfig(**words)


def test_a_gain_is_no_drop_and_a_rejection_says_of_which_weights_it_speaks(finished: Finished, tmp_path: Path) -> None:
    _, made = quantized(finished, tmp_path, "quantize.formats=[onnx]", "quantize.methods=[static]", "quantize.max_drop=0.5")
    (one,) = made.listed
    one.how["drop"] = -0.000127
    tries = [{"file": "b.onnx", "weights": way, "reason": f"lost of {way}"} for way in ("trained", "qat")]
    summary = _outcome([one], tries, QuantizeConfig()).summary
    assert "none loses accuracy" in summary
    assert "b.onnx is rejected (weights of quantization-aware training): lost of qat" in summary
