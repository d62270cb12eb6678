"""How nearly an artifact must answer follows from the target: its spread, and what 32 bits hold of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import load
from pipeline.exporting.bundling import tolerance_for
from serving.schema import Schema


@dataclass
class Rows:
    """What is asked of prepared rows."""

    schema: Schema
    targets: NDArray[Any]

    def split(self, name: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
        assert name == "train", "no other split says what may be off"
        return np.zeros((len(self.targets), 1), np.float32), self.targets


def of(targets: NDArray[Any]) -> Any:
    schema = Schema(task="regression", kind="table", shape=(1,), target="y", minimum=0, maximum=1)
    return tolerance_for(load(None), Rows(schema, targets.astype(np.float32)))  # type: ignore[arg-type]


def test_values_around_a_large_offset_are_proven_by_their_spread() -> None:
    tolerance = of(1e6 + np.random.default_rng(0).normal(0, 1.8, 1000))
    (allowed,) = tolerance.allowed(np.array([[1e6]], np.float32))[0]
    assert allowed < 1.8, "the answer of a network of zeros, the mean, must not pass"
    assert allowed > 0.06, "32 bits hold a million to a sixteenth"


def test_large_values_around_zero_may_be_off_by_what_32_bits_round_away() -> None:
    tolerance = of(np.random.default_rng(0).normal(0, 1e6, 1000))
    assert tolerance.allowed(np.array([[-1119.0]], np.float32))[0, 0] > 2


def test_each_of_several_values_has_a_tolerance_of_its_own() -> None:
    rng = np.random.default_rng(0)
    tolerance = of(np.stack([rng.normal(3e6, 1e6, 1000), rng.normal(0, 0.2, 1000)], axis=1))
    large, small = tolerance.atol
    assert small == pytest.approx(2e-5, rel=0.2)
    assert large > 100


def test_a_target_of_tiny_numbers_is_not_proven_by_a_tenth_of_a_thousandth() -> None:
    assert of(np.random.default_rng(0).normal(0, 1e-14, 1000)).atol[0] < 1e-17
