"""`python -m pipeline sanity` names the bugs that train without an error, on real model files."""

from pathlib import Path

import pytest

from tests.conftest import ROOT, Project

SHIPPED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
CUSTOM = ("model.name=custom", "model.file=net.py", "model.class=Net")
CHANGED = ("data.source=python", "data.file=rows.py")
ONE_FORMAT = ("export.formats=[torchscript]", "export.bundle=torchscript")  # ONNX takes two seconds
MODEL = """
import torch
from torch import nn
from torch.nn import functional
class Inner(nn.Module):
    def forward(self, x):
        return {inner}
class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(input_shape[0], 16), Inner(), nn.ReLU(), nn.Linear(16, outputs))
        {init}
    def forward(self, x):
        {before}
        return {forward}
"""


def checked(
    project: Project,
    *words: str,
    inner: str = "x",
    init: str = "pass",
    before: str = "pass",
    forward: str = "self.layers(x)",
) -> tuple[int, dict[str, str]]:
    """Return the exit code and the lines by the name of their check, for a model with one thing changed."""
    source = MODEL.format(inner=inner, init=init, before=before, forward=forward)
    (project.folder / "net.py").write_text(source)
    code, out, err = project.run("sanity", *CUSTOM, *(words or ONE_FORMAT))
    lines = [line for line in [*out, *err] if line[:6] in ("PASS  ", "WARN  ", "FAIL  ")]
    assert all(line.startswith("FAIL") for line in err)
    return code, {line[6:20].strip(): line for line in lines}


def changed_rows(project: Project, source: str, change: str) -> None:
    """Write a file whose rows are those of a set of scikit-learn, with target y, after one change."""
    (project.folder / "rows.py").write_text(f"""
from sklearn.datasets import load_{source}
def load():
    loaded = load_{source}(as_frame=True)
    frame = loaded.data.assign(y=loaded.target)
    {change}
    return frame
""")


def not_passed(lines: dict[str, str]) -> set[str]:
    return {check for check, line in lines.items() if not line.startswith("PASS")}


def test_a_model_in_order_passes_every_check(project: Project) -> None:
    code, lines = checked(project, "export.golden_rows=16")
    assert code == 0
    assert not_passed(lines) == set()
    assert len(lines) == 11


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_passes_without_a_warning(project: Project, name: str) -> None:
    code, out, err = project.run("sanity", *ONE_FORMAT, config=str(ROOT / "configs" / f"{name}.yaml"))
    assert (code, err) == (0, [])
    assert [line for line in out if line.startswith("WARN")] == []


@pytest.mark.parametrize(
    "forward",
    [
        "self.layers(torch.zeros_like(x))",
        "self.layers(0 * x)",
        "self.layers(x.round() * 1e-12)",
        "next(p for p in self.parameters() if p.shape == (3,)).expand(len(x), -1)",  # a view of a parameter
    ],
)
def test_a_model_that_ignores_its_input_is_refused(project: Project, forward: str) -> None:
    code, lines = checked(project, forward=forward)
    assert code == 3
    assert "the answers stay the same whatever the row" in lines["input matters"]
    assert lines["learn by heart"].startswith("FAIL")


def test_columns_that_never_matter_are_named(project: Project) -> None:
    init = "self.register_buffer('mask', torch.tensor([1.0, 0.0, 1.0, 1.0]))"
    code, lines = checked(project, init=init, before="x = x * self.mask")
    assert code == 0
    assert "1 of 4 columns never change the answer: 'sepal width (cm)'" in lines["input matters"]


def test_a_column_behind_a_step_function_matters_though_it_has_no_gradient(project: Project) -> None:
    _, lines = checked(project, before="x = torch.cat([x[:, :3], (x[:, 3:] > 0).float()], dim=1)")
    assert lines["input matters"].startswith("PASS")


def test_a_parameter_frozen_at_random_numbers_is_named(project: Project) -> None:
    code, lines = checked(project, init="self.layers[0].weight.requires_grad = False")
    assert code == 3
    assert "layers.0.weight frozen at random numbers" in lines["gradients"]


def test_a_parameter_frozen_at_the_same_numbers_under_any_seed_is_a_warning_only(project: Project) -> None:
    code, lines = checked(project, init="nn.init.eye_(self.layers[0].weight); self.layers[0].weight.requires_grad = False")
    assert code == 0
    assert lines["gradients"].startswith("WARN  gradients       layers.0.weight frozen")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"init": "self.extra = nn.Linear(2, 2)"}, "forward() does not use extra.weight, extra.bias"),
        ({"inner": "x.detach()"}, "forward() does not use layers.0.weight, layers.0.bias"),
        ({"inner": "x * 0"}, "exactly zero for all of layers.0.weight, layers.0.bias, layers.3.weight"),
    ],
)
def test_parameters_without_a_gradient_are_named(project: Project, change: dict[str, str], text: str) -> None:
    code, lines = checked(project, **change)
    assert code == 3
    assert text in lines["gradients"]


def test_a_head_that_begins_at_zero_is_in_order(project: Project) -> None:
    code, lines = checked(project, init="nn.init.zeros_(self.layers[3].weight); nn.init.zeros_(self.layers[3].bias)")
    assert code == 0
    assert not_passed(lines) == set()


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        ({"inner": "x - x.mean(0)"}, "'layers.1' (Inner)"),
        ({"inner": "x - x.mean(0).detach()"}, "'layers.1' (Inner)"),
        ({"inner": "x + torch.cat([x[:1] * 0, x[:-1]])"}, "'layers.1' (Inner)"),
        ({"forward": "functional.softmax(self.layers(x), dim=0)"}, "forward() of Net"),
        ({"init": "self.layers[1] = nn.BatchNorm1d(16, track_running_stats=False)"}, "'layers.1' (BatchNorm1d)"),
    ],
)
def test_a_layer_that_mixes_the_batch_in_eval_mode_is_named(project: Project, change: dict[str, str], layer: str) -> None:
    code, lines = checked(project, **change)
    assert code == 3
    assert f"{layer} mixes rows in eval mode" in lines["rows apart"]


def test_batch_normalization_and_dropout_are_no_mixing_and_no_difference(project: Project) -> None:
    init = "self.layers[1] = nn.Sequential(nn.BatchNorm1d(16), nn.Dropout(0.3))"
    code, lines = checked(project, init=init, forward="functional.dropout(self.layers(x), 0.2, self.training)")
    assert code == 0
    assert not_passed(lines) == set()


def test_a_squeeze_that_one_row_alone_does_not_survive_is_found(project: Project) -> None:
    code, lines = checked(project, forward="self.layers(x).squeeze()")
    assert code == 3
    assert "one row alone, as clients send it, gets the shape (3,) instead of (1, 3)" in lines["rows apart"]


@pytest.mark.parametrize(
    ("change", "level", "check", "text"),
    [
        ({"inner": "x + torch.randn_like(x)"}, "FAIL", "eval mode", "'layers.1' (Inner) draws numbers"),
        ({"inner": "x + torch.randn_like(x) if self.training else x"}, "WARN", "train mode", "in 'layers.1' (Inner)"),
        ({"before": "x *= 2"}, "FAIL", "eval mode", "forward() writes into its rows"),
        (
            {"init": "self.n = 0", "before": "self.n += 1", "forward": "self.layers(x) * self.n"},
            "FAIL",
            "eval mode",
            "forward() of Net remembers calls",
        ),
    ],
)
def test_chance_and_memory_in_a_model_are_named(
    project: Project, change: dict[str, str], level: str, check: str, text: str
) -> None:
    _, lines = checked(project, **change)
    assert lines[check].startswith(level)
    assert text in lines[check]


def test_a_model_that_fails_in_eval_mode_is_told_once(project: Project) -> None:
    code, lines = checked(project, before="assert self.training, 'only for training'")
    assert code == 3
    assert [line for line in lines.values() if "AssertionError: only for training" in line] == [lines["input matters"]]


def test_rows_a_thousand_times_too_large_are_found_by_column(project: Project) -> None:
    changed_rows(project, "iris", "frame.iloc[:, :4] *= 1000")
    code, lines = checked(project, *CHANGED, "data.target=y", "prepare.normalize=none", *ONE_FORMAT)
    assert code == 3
    assert "'sepal length (cm)' has mean 5" in lines["input scale"]
    assert lines["input scale"].endswith("set prepare.normalize=standard")
    assert lines["first loss"].startswith("FAIL")
    code, lines = checked(project)
    assert (code, not_passed(lines)) == (0, set())


def test_a_model_that_makes_its_input_a_thousand_times_larger_is_found_by_its_first_loss(project: Project) -> None:
    code, lines = checked(project, before="x = x * 1000")
    assert code == 3
    assert "1.099 is ln(3), what equal chances for 3 classes give; the first answers are far too sure" in lines["first loss"]


def test_a_target_that_is_not_normalized_is_found(project: Project) -> None:
    code, lines = checked(project, "data.source=diabetes", "prepare.normalize_target=none", *ONE_FORMAT)
    assert code == 3
    assert lines["target scale"].endswith("set prepare.normalize_target=standard")


@pytest.mark.parametrize("source", ["wine", "diabetes"])
def test_shuffled_labels_are_learned_by_heart_and_told_by_rows_kept_aside(project: Project, source: str) -> None:
    changed_rows(project, source, "frame.y = frame.y.sample(frac=1, random_state=0).to_numpy()")
    code, lines = checked(project, *CHANGED, "data.target=y", *ONE_FORMAT)
    assert code == 0
    assert lines["learn by heart"].startswith("PASS")
    assert lines["learn by heart"].endswith("with shuffled labels, too: that is for 'labels fit'")
    assert not_passed(lines) == {"labels fit"}
    assert "labels may be shuffled against rows, or there is little to learn" in lines["labels fit"]


@pytest.mark.parametrize(
    "words",
    [
        ("train.loss.label_smoothing=0.2",),
        ("train.loss.name=focal",),
        ("train.loss.class_weights=[5, 1, 0.1]",),
        ("data.source=diabetes", "train.loss.name=huber"),
        ("data.source=diabetes", "train.loss.name=mae"),
    ],
)
def test_the_first_loss_is_judged_by_the_loss_that_is_configured(project: Project, words: tuple[str, ...]) -> None:
    code, lines = checked(project, *words, *ONE_FORMAT)
    assert (code, not_passed(lines)) == (0, set())


def test_a_model_that_cannot_be_exported_is_named_with_format_and_reason_before_it_is_trained(project: Project) -> None:
    code, lines = checked(project, "seed=0", forward="self.layers(x) if x.abs().max() < 1e6 else self.layers(x * 0)")
    assert code == 3
    reason = "forward() takes a branch that depends on the values of the rows; write it with torch.where"
    assert lines["as onnx"].endswith(f"the model cannot be written as onnx: {reason}")
    assert not_passed(lines) == {"as onnx"}, "TorchScript is compiled, and keeps the branch"


def test_a_constant_column_is_named(project: Project) -> None:
    changed_rows(project, "iris", "frame['sepal width (cm)'] = 0.0")
    _, lines = checked(project, *CHANGED, "data.target=y", "data.columns={sepal width (cm): number}")
    assert "one value in all train rows: 'sepal width (cm)'" in lines["input scale"]


def test_a_model_file_that_is_not_there_is_one_line(project: Project) -> None:
    code, _, err = project.run("sanity", *CUSTOM)
    assert (code, err) == (2, ["model.file: there is no file 'net.py'; paths are relative to the folder of the command"])
    assert not Path("runs").exists()
