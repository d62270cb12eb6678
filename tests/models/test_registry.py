"""Every model takes rows of any size of batch, and a user's own file is built like ours."""

import pytest
import torch
from torch import nn

from pipeline.config.model_sections import CnnConfig, MlpConfig, ResnetConfig
from pipeline.errors import UserError
from pipeline.models.registry import CUSTOM, MODELS, Architecture, build

CONFIGS = {"mlp": MlpConfig(), "cnn": CnnConfig(), "resnet": ResnetConfig(blocks=2)}
SOURCE = b"""
from torch import nn
class Net(nn.Module):
    def __init__(self, input_shape, outputs, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, outputs))
    def forward(self, inputs):
        return self.layers(inputs)
class Broken(nn.Module):
    def __init__(self, input_shape, outputs):
        raise ValueError("no luck")
class Plain:
    def __init__(self, input_shape, outputs): pass
"""


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(8, 8), (3, 9, 7), (30,)])
@pytest.mark.parametrize("batch", [2, 7])
def test_every_model_maps_rows_to_outputs(name: str, shape: tuple[int, ...], batch: int) -> None:
    args = CONFIGS[name].model_dump(exclude={"name"})
    if shape == (30,) and name != "mlp":
        with pytest.raises(UserError, match="this one takes images"):
            build(Architecture(name, shape, 4, args))
        return
    net = build(Architecture(name, shape, 4, args))
    assert net(torch.randn(batch, *shape)).shape == (batch, 4)


def test_every_name_in_config_has_a_model() -> None:
    assert MODELS.keys() == CONFIGS.keys()


def custom(name: str, **args: object) -> Architecture:
    return Architecture(CUSTOM, (5,), 3, {"class": name, "args": args})


def test_a_users_class_is_built_with_its_own_arguments() -> None:
    net = build(custom("Net", width=6), source=SOURCE)
    assert net(torch.zeros(2, 5)).shape == (2, 3)
    assert [p.shape[0] for p in net.parameters() if p.ndim == 2] == [6, 3]


@pytest.mark.parametrize(
    ("architecture", "source", "message"),
    [
        (custom("Nett"), SOURCE, "the file has no 'Nett'; its modules are: Net, Broken"),
        (custom("Broken"), SOURCE, r"Broken\(input_shape=\(5,\), outputs=3\) failed: ValueError: no luck"),
        (custom("Net", widht=6), SOURCE, "unexpected keyword argument 'widht'"),
        (custom("Plain"), SOURCE, "Plain is no torch.nn.Module"),
        (custom("Net"), b"import nothing_of_this_name", "importing it failed: ModuleNotFoundError"),
        (custom("Net"), b"def (", "importing it failed: SyntaxError"),
    ],
)
def test_a_users_file_that_cannot_be_used_is_refused_in_one_line(
    architecture: Architecture, source: bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(architecture, source=source)
    assert len(str(caught.value).splitlines()) == 1


def test_models_are_modules_with_trainable_parameters() -> None:
    for name, config in CONFIGS.items():
        net = build(Architecture(name, (8, 8), 2, config.model_dump(exclude={"name"})))
        assert isinstance(net, nn.Module)
        assert all(p.requires_grad for p in net.parameters())
