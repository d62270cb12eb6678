"""Channels by number, and which of them are one channel because layers add, multiply or chain them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Role = Literal["makes", "adds", "normalizes", "reads"]


class Channels:
    """Disjoint sets of channel numbers (Tarjan 1975), each with a reason to leave it alone, or none.

    channels = Channels()
    one, two = channels.new(8), channels.new(8)     # outputs of two layers
    channels.join(one, two)                         # what their sum does
    """

    def __init__(self) -> None:
        """Begin without channels."""
        self._parents: list[int] = []
        self._frozen: dict[int, str] = {}  # number → why; of the number that was frozen, not of its set

    def new(self, count: int) -> Numbers:
        """Return the numbers of so many new channels, (count,)."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, some: Numbers, others: Numbers) -> None:
        """Make each channel of `some` one with the channel at the same place of `others`, both (count,)."""
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            self._parents[high] = low

    def freeze(self, some: Numbers, why: str) -> None:
        """Say why these channels, and all that are one with them, stay; of several reasons the first one counts."""
        for number in some.tolist():
            self._frozen.setdefault(number, why)

    def roots(self, some: Numbers) -> Numbers:
        """Return one number for each set, in the shape of `some`."""
        return np.array([self._root(number) for number in some.tolist()], dtype=np.int64)

    def reasons(self) -> dict[int, str]:
        """Return why a set stays, by its root, for the sets that do."""
        found: dict[int, str] = {}
        for number, why in self._frozen.items():
            found.setdefault(self._root(number), why)
        return found

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def tuple_of(value: Any) -> tuple[Any, ...]:
    """Return the entries of a list or tuple, or a tuple of the one value."""
    return tuple(value) if isinstance(value, Iterable) else (value,)


@dataclass(frozen=True)
class Label:
    """Channels along one axis of a tensor. numbers: (positions,). zero: whether a channel of zeros is zero here, too."""

    numbers: Numbers
    axis: int
    shape: tuple[int, ...]
    zero: bool = True


@dataclass(frozen=True)
class Slot:
    """An axis of a layer's tensor whose positions belong to channels, (positions,).

    role: weights that compute the channels, a bias, numbers of a batch normalization, or weights that read them.
    """

    layer: str
    tensor: str
    axis: int
    numbers: Numbers
    role: Role


def aligned(first: Label, second: Label) -> bool:
    """Return whether two tensors have their channels at the same place, counted from the end, and as many."""
    ends = [len(label.shape) - label.axis for label in (first, second)]
    return ends[0] == ends[1] and len(first.numbers) == len(second.numbers)
