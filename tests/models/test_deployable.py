"""What is exported takes raw values and answers in the target's own unit."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.models.deployable import Deployable, Normalize, Target
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


def test_several_labels_are_answered_with_a_probability_each() -> None:
    deployable = Deployable(nn.Identity(), task="multilabel", statistics=STATISTICS | {"inputs": {"shift": 0.0, "scale": 1.0}})
    found = deployable(torch.tensor([[0.0, 100.0, -100.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0, 0.0]]))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("shift", "scale", "targets"),
    [
        (3.0, 2.0, torch.tensor([0.0, 1e-4, 5.0, 1e6])),
        ([3.0, 1.0], [2.0, 4.0], torch.tensor([[0.0, 1.0], [5.0, 1e6], [1e-4, 1e-6]])),
    ],
)
def test_a_target_of_one_or_several_outputs_comes_back_from_what_the_loss_sees(
    shift: Any, scale: Any, targets: Tensor, log: bool
) -> None:
    target = Target({"shift": shift, "scale": scale, "log": log})
    seen = target(targets)
    assert seen.shape == targets.shape
    expected = (torch.log1p(targets) if log else targets) - torch.tensor(shift)
    torch.testing.assert_close(seen, expected / torch.tensor(scale))
    torch.testing.assert_close(target.undo(seen), targets, rtol=1e-5, atol=1e-6)


def test_the_answer_of_a_logarithm_is_the_number_itself_where_small_and_finite_where_huge() -> None:
    target = Target({"shift": 0.0, "scale": 1.0, "log": True})
    logarithms = torch.tensor([-1e30, -1.0, -1e-6, 0.0, 1e-6, 1e-3, 1.0, 20.0, 88.0, 1e30])
    found = target.undo(logarithms)
    assert bool(torch.isfinite(found).all())
    exact = torch.expm1(logarithms.double().clamp(max=88.7)).float()
    torch.testing.assert_close(found, exact, rtol=2e-5, atol=0)


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
