"""Int8 TorchScript: layers are named as in ONNX, those in float are left alone, and torch's settings stay as they were."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.models.cnn import Cnn
from pipeline.models.embeddings import Embedded
from pipeline.models.mlp import Mlp
from pipeline.quantization.arithmetic import of_this_machine
from pipeline.quantization.bounded import Unquantizable
from pipeline.quantization.torch_ao import TorchStatic, calibrations_for
from serving.runtimes import load
from serving.schema import Array
from tests.quantization.test_onnx import alone_as_in_a_batch, deployable, rows_of


@pytest.fixture(autouse=True)
def _as_in_a_process_that_serves() -> None:
    torch.use_deterministic_algorithms(False)


def answers(payload: bytes, rows: Array) -> Array:
    return load(payload, "torchscript")(rows)


def test_a_static_network_answers_nearly_the_same_and_each_row_for_itself() -> None:
    torch.manual_seed(0)
    rows = rows_of(6, 6)
    whole = deployable(Cnn((6, 6), 3, channels=[8], hidden=16))
    engine = torch.backends.quantized.engine
    subject = TorchStatic(whole, rows, of_this_machine(), ("minmax", "histogram"))
    layers = ["net.features.0.0", "net.features.1.0", "net.head.1", "net.head.4"]
    assert list(subject.layers) == layers
    with torch.no_grad():
        expected = whole(torch.from_numpy(rows)).numpy()
    for calibration in subject.calibrations:
        payload = subject.quantized(calibration, floats=[])
        assert 0 < np.abs(answers(payload, rows) - expected).mean() < 0.02
        assert alone_as_in_a_batch(load(payload, "torchscript"), rows) < 1e-6
    np.testing.assert_allclose(answers(subject.quantized("minmax", floats=layers), rows), expected, atol=1e-5)
    assert torch.backends.quantized.engine == engine


class _Own(nn.Linear):
    """A user's linear layer."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Compute as the plain one."""
        return super().forward(input)


class _Attentive(nn.Module):
    """A table's row as a sequence of one."""

    def __init__(self) -> None:
        """6 columns."""
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 1, batch_first=True)
        self.attention.out_proj = nn.Linear(6, 6)  # type: ignore[assignment]
        self.last = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """(rows, 6) -> (rows, 3)."""
        rows = inputs[:, None]
        out: Tensor = self.last(self.attention(rows, rows, rows, need_weights=False)[0][:, 0])
        return out


def test_layers_of_a_class_of_the_users_own_stay_float_and_are_not_counted() -> None:
    rows = rows_of(6)
    mixed = TorchStatic(deployable(nn.Sequential(_Own(6, 8), nn.ReLU(), nn.Linear(8, 3))), rows, of_this_machine(), ("minmax",))
    assert list(mixed.layers) == ["net.2"]
    assert np.abs(answers(mixed.quantized("minmax", floats=[]), rows)).max() <= 1
    assert list(TorchStatic(deployable(nn.Sequential(_Own(6, 3))), rows, of_this_machine(), ("minmax",)).layers) == []


def test_what_torch_leaves_in_float_is_no_layer_and_a_file_without_integers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.quantization.torch_ao._KINDS", {nn.Linear, _Own, nn.LazyLinear})
    rows, arithmetic = rows_of(6), of_this_machine()
    with pytest.raises(Unquantizable, match="none of its layers became integer"):
        TorchStatic(deployable(nn.Sequential(_Own(6, 3))), rows, arithmetic, ("minmax",))
    mixed = TorchStatic(deployable(nn.Sequential(_Own(6, 8), nn.Linear(8, 3))), rows, arithmetic, ("minmax",))
    assert list(mixed.layers) == ["net.1"]


def test_the_projections_of_an_attention_are_left_out() -> None:
    subject = TorchStatic(deployable(_Attentive()), rows_of(6), of_this_machine(), ("minmax",))
    assert list(subject.layers) == ["net.last"]


def test_tables_of_vectors_stay_float_behind_which_the_network_is_quantized() -> None:
    torch.manual_seed(0)
    rows = np.concatenate([rows_of(3), np.random.default_rng(0).integers(0, 5, (64, 1))], axis=1).astype(np.float32)
    whole = deployable(Embedded(Mlp((5,), 3, hidden=[16]), ((6, 2),)))
    whole.normalize.get_buffer("shift").zero_()
    whole.normalize.get_buffer("scale").fill_(1.0)
    subject = TorchStatic(whole, rows, of_this_machine(), ("minmax",))
    assert list(subject.layers) == ["net.net.layers.1", "net.net.layers.4"]
    with torch.no_grad():
        expected = whole(torch.from_numpy(rows)).numpy()
    assert 0 < np.abs(answers(subject.quantized("minmax", floats=[]), rows) - expected).mean() < 0.02


def test_torch_has_two_ways_to_find_ranges() -> None:
    assert calibrations_for(("minmax", "entropy", "percentile")) == ("minmax", "histogram")
    assert calibrations_for(("percentile",)) == ("histogram",)
