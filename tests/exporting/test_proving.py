"""A file is kept only if it answers like the model; another way is tried first, and a refusal always comes through."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import GateRefused
from pipeline.exporting import formats, torchscript
from pipeline.exporting.formats import Metadata
from pipeline.exporting.parity import Tolerance, refusal
from pipeline.exporting.proving import Proof, prove
from pipeline.models.deployable import Deployable
from pipeline.training.deployed import answers
from serving.schema import Schema
from tests.exporting.test_divergence import STATISTICS, Branches

SCHEMA = Schema(task="classification", kind="table", shape=(4,), target="y", minimum=-9, maximum=9, classes=("a", "b", "c"))
ROWS = np.random.default_rng(0).normal(0.5, 3, size=(40, 4)).astype(np.float32)


def model() -> Deployable:
    torch.manual_seed(0)
    return Deployable(nn.Linear(4, 3), task="classification", statistics=STATISTICS).eval()


def proof(deployable: Deployable, **change: int) -> Proof:
    expected = np.concatenate([answers(deployable, row[np.newaxis]) for row in ROWS])
    return Proof(schema=SCHEMA, inputs=ROWS, expected=expected, batch_sizes=(1,), tolerance=Tolerance(1e-5, 1e-5))


def wrong(module: nn.Module, example: Tensor, metadata: Metadata) -> bytes:
    other = model()
    with torch.no_grad():
        other.get_parameter("net.bias").add_(1.0 * torch.arange(3))
    return torchscript.traced(other, example, metadata)


def test_a_model_that_can_be_traced_is_traced() -> None:
    proven = prove(model(), "torchscript", proof(model()))
    assert (proven.way, proven.parity.passed, proven.parity.diverges) == ("torch.jit.trace", True, None)


def test_a_branch_on_data_is_compiled_and_proven_on_rows_of_both_sides() -> None:
    deployable = Deployable(Branches(), task="classification", statistics=STATISTICS).eval()
    sides = {bool(row.mean() > 0.5) for row in ROWS}
    assert sides == {True, False}
    proven = prove(deployable, "torchscript", proof(deployable))
    assert (proven.way, proven.parity.passed) == ("torch.jit.script", True)


def test_a_trace_that_answers_otherwise_is_replaced_by_a_script_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats._WRITERS, "torch.jit.trace", wrong)
    proven = prove(model(), "torchscript", proof(model()))
    assert (proven.way, proven.parity.passed) == ("torch.jit.script", True)


def test_where_both_answer_otherwise_the_trace_is_refused_with_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("torch.jit.trace", "torch.jit.script"):
        monkeypatch.setitem(formats._WRITERS, way, wrong)
    proven = prove(model(), "torchscript", proof(model()))
    assert (proven.way, proven.parity.passed) == ("torch.jit.trace", False)
    assert "; first diverging layer: net; allowed: " in refusal("x.pt", proven.parity)


def test_a_failure_of_the_diagnosis_hides_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such\ngraph")

    for way in ("torch.jit.trace", "torch.jit.script"):
        monkeypatch.setitem(formats._WRITERS, way, wrong)
    monkeypatch.setattr(torchscript, "values_of", fail)
    proven = prove(model(), "torchscript", proof(model()))
    assert not proven.parity.passed
    line = refusal("x.pt", proven.parity)
    assert len(line.splitlines()) == 1
    assert "validation row" in line
    assert "which layer diverges first cannot be told: RuntimeError: no such" in line


class Fixed(nn.Module):
    """Takes no other batch than of two rows."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer two rows."""
        return inputs.reshape(2, 4)[:, :3]


def test_a_file_that_fails_on_rows_is_refused_in_one_line() -> None:
    deployable = Deployable(Fixed(), task="classification", statistics=STATISTICS).eval()
    with pytest.raises(GateRefused, match="^export: torchscript: the file fails on validation rows: ") as caught:
        prove(deployable, "torchscript", proof(model()))
    assert len(caught.value.lines) == 1
