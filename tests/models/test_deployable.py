"""What is exported takes raw values and answers in the target's own unit."""

from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.models.deployable import Deployable, Normalize
from pipeline.training.deployed import answers, deployable_of
from tests.conftest import Finished

STATISTICS: dict[str, Any] = {"inputs": {"shift": [1.0, 2.0], "scale": [2.0, 4.0]}, "target": {"shift": 100.0, "scale": 10.0}}


def test_regression_undoes_the_targets_normalization_inside_the_graph() -> None:
    net = nn.Linear(2, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    deployable = Deployable(net, task="regression", statistics=STATISTICS)
    # (3 - 1) / 2 + (10 - 2) / 4 = 3 -> 3 * 10 + 100
    assert deployable(torch.tensor([[3.0, 10.0]])).item() == 130.0


def test_classification_answers_with_probabilities() -> None:
    deployable = Deployable(nn.Linear(2, 5), task="classification", statistics=STATISTICS)
    answered = deployable(torch.randn(7, 2) * 100)
    assert answered.shape == (7, 5)
    torch.testing.assert_close(answered.sum(dim=1), torch.ones(7))


def test_undo_is_the_inverse_of_normalize() -> None:
    normalize = Normalize(STATISTICS["inputs"])
    raw = torch.randn(5, 2) * 50
    torch.testing.assert_close(normalize.undo(normalize(raw)), raw)


def test_statistics_travel_as_buffers_and_are_no_weights() -> None:
    deployable = Deployable(nn.Linear(2, 1), task="regression", statistics=STATISTICS)
    assert {name for name, _ in deployable.named_buffers()} == {
        "normalize.shift",
        "normalize.scale",
        "target.shift",
        "target.scale",
    }
    assert all(name.startswith("net.") for name, _ in deployable.named_parameters())


def test_answers_do_not_depend_on_how_rows_are_batched(finished: Finished) -> None:
    deployable = deployable_of(finished.prepared, finished.model)
    inputs, _ = finished.prepared.split("test")
    one_by_one = np.concatenate([answers(deployable, inputs[i : i + 1]) for i in range(len(inputs))])
    np.testing.assert_allclose(answers(deployable, inputs), one_by_one, atol=1e-6)
