"""Where an artifact leaves the model, the layer is named."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.choice_sections import Format
from pipeline.exporting.divergence import first_divergence
from pipeline.exporting.formats import SUFFIX, export
from pipeline.models.cnn import Cnn
from pipeline.models.deployable import Deployable
from pipeline.models.resnet import Resnet
from tests.exporting.test_formats import net_of

STATISTICS = {"inputs": {"shift": 0.5, "scale": 2.0}, "target": {"shift": 0.0, "scale": 1.0}}
FORMATS = list(SUFFIX)
ROWS = np.random.default_rng(0).normal(size=(6, 8, 8)).astype(np.float32)
Break = Callable[[Deployable], object]


def cnn() -> Deployable:
    torch.manual_seed(0)
    return Deployable(Cnn((8, 8), 3, channels=[4, 8], hidden=8), task="classification", statistics=STATISTICS).eval()


def resnet() -> Deployable:
    torch.manual_seed(0)
    return Deployable(Resnet((8, 8), 3, channels=[4, 8], blocks=1), task="classification", statistics=STATISTICS).eval()


def found(make: Callable[[], Deployable], change: Break, form: Format) -> str | None:
    broken = make()
    with torch.no_grad():
        change(broken)
    return first_divergence(make(), export(broken, torch.zeros(2, 8, 8), form), form, ROWS)


def scaled(name: str) -> Break:
    return lambda model: model.get_parameter(name).mul_(2)


def swapped(model: Deployable) -> None:
    finish = model.finish
    model.finish = lambda outputs: finish(outputs)[:, [1, 0, 2]]  # type: ignore[method-assign]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("change", "layer"),
    [
        (lambda model: model.normalize.shift.mul_(1.5), "normalize"),
        (scaled("net.head.1.weight"), "net.head.1"),
        (scaled("net.head.4.bias"), "net.head.4"),
        (swapped, "finish"),
        (lambda model: None, None),
    ],
)
def test_the_first_layer_that_computes_otherwise_is_named(form: Format, change: Break, layer: str | None) -> None:
    assert found(cnn, change, form) == layer


@pytest.mark.parametrize("form", FORMATS)
def test_a_fault_in_a_block_is_told_from_what_was_folded_before_it(form: Format) -> None:
    name = next(name for name, module in cnn().named_modules() if isinstance(module, nn.BatchNorm2d))
    assert name.startswith("net.features.0.")
    layer = found(cnn, scaled(f"{name}.weight"), form)
    assert layer is not None
    assert layer.startswith("net.features.0."), "of the convolution and its norm that became one"


@pytest.mark.parametrize("form", FORMATS)
def test_of_parallel_paths_the_one_with_the_fault_is_named(form: Format) -> None:
    paths = [name for name, module in resnet().named_modules() if isinstance(module, nn.Conv2d)]
    assert len(paths) >= 4
    for name in paths if form == "torchscript" else paths[-2:]:  # the others take longer
        layer = found(resnet, scaled(f"{name}.weight"), form)
        assert layer is not None
        assert layer.rpartition(".")[0] == name.rpartition(".")[0], (name, layer)


@pytest.mark.parametrize("form", FORMATS)
def test_of_a_tables_columns_the_kind_is_named(form: Format) -> None:
    model, shape = net_of("table")
    rows = np.random.default_rng(0).integers(1, 4, (6, *shape)).astype(np.float32)
    rows[:, 3] = 18_200 + np.arange(6)
    scale = model.get_buffer("normalize.dates.scale")
    scale.mul_(1.5)
    payload = export(model, torch.zeros(2, *shape), form)
    scale.div_(1.5)
    assert first_divergence(model, payload, form, rows) == "normalize.dates"


class Branches(nn.Module):
    """Takes another layer for rows below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.above, self.below = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Take one of the two."""
        taken: Tensor = self.above(inputs) if inputs.mean() > 0 else self.below(inputs)
        return taken


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_branch_that_tracing_froze_is_named_by_the_layer_of_the_other_branch() -> None:
    model = Deployable(Branches(), task="classification", statistics=STATISTICS).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.exporting.formats.TracerWarning", BytesWarning)
        payload = export(model, torch.full((2, 4), 9.0), "torchscript")
    assert first_divergence(model, payload, "torchscript", np.full((2, 4), 9, np.float32)) is None
    assert first_divergence(model, payload, "torchscript", np.full((2, 4), -9, np.float32)) == "net.below"


def test_looking_leaves_no_hook_and_no_other_answer_behind() -> None:
    model = cnn()
    before = model(torch.from_numpy(ROWS))
    first_divergence(model, export(model, torch.zeros(2, 8, 8), "torchscript"), "torchscript", ROWS)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(torch.from_numpy(ROWS)), before)
