"""The learning rate over training: each schedule's shape, warm-up before it, and nothing to remember but the step."""

from typing import Any

import pytest
import torch

from pipeline.config.train_sections import ScheduleConfig
from pipeline.training.schedules import Schedule, build_schedule

STEPS = 4  # in an epoch


def rates(epochs: int, losses: list[float] | None = None, **options: Any) -> list[list[float]]:
    """Return the learning rate of each step, by epoch, where the highest is 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule: Schedule = build_schedule(optimizer, ScheduleConfig(**options), epochs=epochs, monitor="val/loss")
    seen: list[list[float]] = []
    for epoch in range(epochs):
        seen.append([])
        for step in range(STEPS):
            schedule.before_step(epoch + step / STEPS, 1 / STEPS)
            seen[-1].append(optimizer.param_groups[0]["lr"])
        schedule.after_epoch({"epoch": epoch + 1, "val/loss": losses[epoch] if losses else 1.0}, 1 / STEPS)
    return seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1]),
        ({"name": "step", "step_epochs": 2, "factor": 0.1}, [1, 1, 0.1, 0.1]),
        ({"name": "multistep", "milestones": (1, 3), "factor": 0.5}, [1, 0.5, 0.5, 0.25]),
        ({"name": "exponential", "gamma": 0.9}, [1, 0.9, 0.81, 0.729]),
        ({"name": "cosine"}, [1, 0.853553, 0.5, 0.146447]),
        ({"name": "cosine", "min_lr": 0.5}, [1, 0.926777, 0.75, 0.573223]),
    ],
)
def test_between_epochs_the_rate_changes_as_the_schedule_says_and_within_one_it_stays(
    options: dict[str, Any], expected: list[float]
) -> None:
    found = rates(4, **options)
    assert [epoch[0] for epoch in found] == pytest.approx(expected, abs=1e-6)
    assert all(len(set(epoch)) == 1 for epoch in found)


def test_a_plateau_drops_the_rate_after_its_patience_and_never_below_the_lowest() -> None:
    found = rates(
        8, losses=[3, 2, 2, 2, 1, 1, 1, 1], name="plateau", plateau_patience=1, factor=0.1, min_lr=0.05, warmup_epochs=0.0
    )
    assert [epoch[0] for epoch in found] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.05])


def test_one_cycle_rises_to_the_highest_rate_and_falls_to_the_lowest_step_by_step() -> None:
    steps = sum(rates(10, name="one_cycle", rise=0.3), [])  # noqa: RUF017
    top = steps.index(max(steps))
    assert steps[0] == pytest.approx(1 / 25)
    assert top == 12, "after 30 % of the steps"
    assert max(steps) == pytest.approx(1.0)
    assert sorted(steps[: top + 1]) == steps[: top + 1]
    assert sorted(steps[top:], reverse=True) == steps[top:]
    assert steps[-1] < 0.02


@pytest.mark.parametrize("name", ["constant", "step", "multistep", "exponential", "cosine", "one_cycle", "plateau"])
def test_every_schedule_can_warm_up_linearly_from_the_first_step(name: str) -> None:
    warm, cold = rates(6, name=name, warmup_epochs=1.5), rates(6, name=name)
    rise = [*warm[0], *warm[1][:2]]
    first = cold[0][0]
    assert rise == pytest.approx([first * share / 6 for share in range(1, 7)]), "six steps, the first one moves, too"
    assert max(max(epoch) for epoch in warm) <= 1.0
    assert warm[1][2] == pytest.approx(first) or name == "cosine"


def test_the_rate_of_a_step_is_the_same_however_often_it_was_asked_for() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, ScheduleConfig(name="one_cycle"), epochs=5, monitor="val/loss")
    for done in (3.25, 1.0, 3.25):
        schedule.before_step(done, 0.25)
        rate = schedule.learning_rate
    assert rate == rates(5, name="one_cycle")[3][1]
