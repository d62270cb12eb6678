"""The best epoch is the best, and a number that is none never is."""

from typing import Any, cast

import pytest

from pipeline.errors import UserError
from pipeline.training import FitState
from pipeline.training.early_stopping import EarlyStopping


class State:
    """As much of a FitState as early stopping looks at."""

    def __init__(self) -> None:
        self.epoch = 0
        self.stop: str | None = None
        self.history: list[dict[str, Any]] = []


def watch(
    values: list[float], *, monitor: str = "val/loss", patience: int | None = 2, **options: Any
) -> tuple[EarlyStopping, int]:
    """Feed one value an epoch; return the hook and the epoch at which it stopped, 0 for never."""
    stopping, state = EarlyStopping(monitor, patience=patience, **options), State()
    for value in values:
        state.epoch += 1
        state.history.append({monitor: value})
        stopping.on_epoch_end(cast(FitState, state))
        if state.stop:
            return stopping, state.epoch
    return stopping, 0


@pytest.mark.parametrize(
    ("values", "best", "stopped"),
    [
        ([3.0, 2.0, 1.0, 1.5, 1.2], 3, 5),
        ([3.0, 2.0, 2.5, 1.0, 1.1], 4, 0),
        ([float("nan"), 2.0, 3.0], 2, 0),
        ([2.0, float("nan"), float("-inf"), 1.0], 1, 3),
        ([float("inf"), float("nan")], 0, 2),
        ([1.0, 1.0, 1.0], 1, 3),
    ],
)
def test_a_loss_is_best_when_lowest_and_finite(values: list[float], best: int, stopped: int) -> None:
    stopping, at = watch(values)
    assert (stopping.best_epoch, at) == (best, stopped)


def test_a_score_is_best_when_highest() -> None:
    stopping, _ = watch([0.1, 0.9, 0.5], monitor="val/accuracy")
    assert stopping.best_epoch == 2


def test_a_change_below_min_delta_is_no_improvement() -> None:
    stopping, at = watch([1.0, 0.95, 0.91], min_delta=0.1)
    assert at == 3, "patience waits for more"
    assert stopping.best_epoch == 3, "what is kept is the best all the same"
    assert watch([1.0, 0.95, 0.89, 0.85, 0.82], min_delta=0.1)[1] == 5, "small steps add up to one that counts"


def test_min_delta_can_be_a_share_of_the_best_value() -> None:
    values = [200.0, 190.0, 170.0, 165.0, 160.0]
    assert watch(values, min_delta=0.1, relative=True)[1] == 5, "170 is more than 10 % below 200; 165 and 160 are not below 170"
    assert watch(values, min_delta=0.1)[1] == 0


def test_what_is_better_can_be_said_for_a_number_whose_name_does_not_tell() -> None:
    assert watch([1.0, 3.0, 2.0], monitor="val/own", mode="min")[0].best_epoch == 1
    assert watch([1.0, 3.0, 2.0], monitor="val/own", mode="max")[0].best_epoch == 2


def test_warm_up_epochs_do_not_count_as_waiting_but_may_be_best() -> None:
    assert watch([1.0, 2.0, 2.0, 2.0, 2.0], warmup_epochs=3)[1] == 5
    assert watch([1.0, 2.0, 2.0, 2.0, 2.0])[1] == 3
    assert watch([1.0, 2.0], warmup_epochs=3)[0].best_epoch == 1


def test_a_monitor_that_is_no_number_ends_training_by_name_where_that_is_wanted() -> None:
    stopping, state = EarlyStopping("val/loss", patience=None, stop_when_not_finite=True), State()
    for value in (1.0, float("nan")):
        state.epoch += 1
        state.history.append({"val/loss": value})
        stopping.on_epoch_end(cast(FitState, state))
    assert (state.stop, stopping.best_epoch) == ("monitor_not_finite", 1)


def test_without_patience_it_never_stops() -> None:
    _, at = watch([1.0] * 50, patience=None)
    assert at == 0


def test_an_unknown_monitor_is_refused_with_the_known_ones() -> None:
    stopping, state = EarlyStopping("val/acuracy", patience=1, min_delta=0), State()
    state.history.append({"val/accuracy": 1.0, "lr": 0.1})
    with pytest.raises(
        UserError, match="no metric is called 'val/acuracy'; did you mean 'val/accuracy'\\? there are: val/accuracy$"
    ):
        stopping.on_epoch_end(cast(FitState, state))
