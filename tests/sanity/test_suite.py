"""The short checks before each training: told in the journal, refused only where training is meaningless, and no trace left."""

import json
import time

import pytest
import torch

from pipeline.artifacts import Model
from pipeline.config import load
from pipeline.config.choice_sections import ExportConfig, Format
from pipeline.sanity import quick_checks
from pipeline.sanity.exports import check_trace
from pipeline.sanity.subject import subject_of
from pipeline.training.assembly import assemble
from pipeline.training.randomness import kept_rng, rng_state
from tests.conftest import Finished, Project
from tests.sanity.test_sanity import CUSTOM, MODEL


def written(project: Project, **change: str) -> None:
    (project.folder / "net.py").write_text(
        MODEL.format(**{"inner": "x", "init": "pass", "before": "pass", "forward": "self.layers(x)"} | change)
    )


def event(project: Project) -> dict[str, object]:
    journal = next(iter(project.folder.glob("runs/*-quick-*/journal.jsonl")))
    records = [json.loads(line)["values"] for line in journal.read_text().splitlines()]
    found: dict[str, object] = next(values for values in records if values.get("name") == "sanity")
    return found


def test_training_tells_the_journal_what_the_checks_found(project: Project) -> None:
    written(project, init="self.extra = nn.Linear(2, 2)")
    assert project.run("train", *CUSTOM)[0] == 0, "an unused layer is worth a warning, no refusal"
    findings = event(project)["findings"]
    assert isinstance(findings, list)
    assert [finding["check"] for finding in findings if finding["level"] == "FAIL"] == ["gradients"]
    assert {finding["check"] for finding in findings} >= {"rows apart", "first loss", "as torchscript"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"before": "x = torch.zeros_like(x)"}, "sanity: input matters: the answers stay the same whatever the row"),
        ({"inner": "x - x.mean(0)"}, "sanity: rows apart: 'layers.1' (Inner) mixes rows in eval mode"),
    ],
)
def test_a_meaningless_training_is_refused_and_goes_on_when_told_so(
    project: Project, change: dict[str, str], line: str
) -> None:
    written(project, **change)
    code, _, err = project.run("train", *CUSTOM)
    assert code == 3
    assert err[0].startswith(line)
    assert err[-1] == "nothing was trained; mend the model, or train all the same with train.sanity=false"
    assert project.run("train", *CUSTOM, "train.sanity=false")[0] == 0


def test_a_model_that_writes_into_its_rows_is_refused_before_it_spoils_them(project: Project) -> None:
    written(project, before="x *= 2")
    code, _, err = project.run("train", *CUSTOM)
    assert code == 3
    assert err[0].startswith("sanity: eval mode: forward() writes into its rows")


def test_the_checks_change_nothing_about_the_training(project: Project) -> None:
    digests = []
    for words in ((), ("train.sanity=false",)):
        assert project.run("train", "model.dropout=0.3", *words)[0] == 0
        digests.append(Model.open(project.latest / "train").manifest.makes["best.pt"].sha256)
    assert digests[0] == digests[1]


def test_the_checks_leave_network_generators_flags_and_hooks_as_they_were(finished: Finished) -> None:
    config = load(finished.folder / "config.yaml", [])
    parts = assemble(config, finished.prepared)
    net = parts.state.net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = rng_state()
    quick_checks(parts, config)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not bool(parts.state.flat.gradients.any())
    assert torch.equal(rng_state()["torch"], random["torch"])
    assert torch.are_deterministic_algorithms_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_short_checks_are_short_and_end_when_their_time_is_over(finished: Finished) -> None:
    config = load(finished.folder / "config.yaml", [])
    parts = assemble(config, finished.prepared)
    quick_checks(parts, config)
    started = time.perf_counter()
    findings = quick_checks(parts, config)
    assert time.perf_counter() - started < 0.5, "0.05 s on a quiet machine"
    assert {finding.level for finding in findings} == {"PASS"}
    assert quick_checks(parts, config, budget_s=-1.0) == []


GRU = {
    "init": "self.gru = nn.GRU(1, 8, batch_first=True); self.head = nn.Linear(8, outputs)",
    "forward": "self.layers(x) + self.head(self.gru(x.unsqueeze(-1))[0][:, -1])",
}
BRANCH = {"forward": "self.layers(x) if x.abs().max() < 1e6 else self.layers(x * 0)"}


@pytest.mark.parametrize(
    ("change", "formats", "level", "text"),
    [
        (GRU, ("onnx", "torchscript"), "PASS", "the same answers on 16 rows"),
        (BRANCH, ("torchscript",), "PASS", "the same answers on 16 rows"),
        (
            BRANCH,
            ["onnx", "torchscript"],
            "FAIL",
            "only compiles as TorchScript; onnx will probably refuse it: forward() takes a",
        ),
        (GRU | {"before": "x = x if x.sum() < 1e9 else x * 0"}, ("onnx",), "FAIL", "only compiles as TorchScript; onnx will"),
    ],
)
def test_what_only_compiles_is_blamed_for_a_branch_of_its_own_alone(
    project: Project, finished: Finished, change: dict[str, str], formats: tuple[Format, ...], level: str, text: str
) -> None:
    written(project, **change)
    config = load(project.folder / "quick.yaml", list(CUSTOM))
    export = ExportConfig(formats=formats, bundle="onnx" if "onnx" in formats else "torchscript")
    source = (project.folder / "net.py").read_bytes()
    with kept_rng():
        (found,) = check_trace(subject_of(assemble(config, finished.prepared, source=source), config), export)
    assert (found.level, found.check) == (level, "as torchscript")
    assert found.text.startswith(text)
