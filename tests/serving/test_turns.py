"""Turns of the event loop: they begin when all that has arrived was handed over, and wait for nobody else."""

import asyncio
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from serving.turns import Patient


class Ground:
    """A selector with one socket that is always ready, and a clock that only a yield moves on."""

    def __init__(self) -> None:
        self.yields, self.each_s, self.now = 0, 0.0, 0.0
        self.selector = Patient(self._yield, lambda: self.now)
        self.ours, self.theirs = socket.socketpair()
        self.selector.register(self.ours, 1)
        self.theirs.send(b"x")

    def _yield(self) -> None:
        self.yields += 1
        self.now += self.each_s


@pytest.fixture
def ground() -> Iterator[Ground]:
    found = Ground()
    yield found
    found.selector.close()
    found.ours.close()
    found.theirs.close()


def test_a_turn_that_was_waited_for_begins_with_a_yield(ground: Ground) -> None:
    for timeout in (None, 1.0):
        assert [key.fileobj for key, _ in ground.selector.select(timeout)] == [ground.ours]
    assert ground.yields == 2


def test_a_loop_that_has_work_and_one_with_nothing_to_do_do_not_yield(ground: Ground) -> None:
    ground.selector.select(0)
    ground.ours.recv(1)
    assert ground.selector.select(0.01) == []
    assert ground.yields == 0


def test_a_neighbor_on_the_processor_ends_the_yields_for_a_thousand_turns(ground: Ground) -> None:
    ground.each_s = 0.004
    for _ in range(1001):
        ground.selector.select()
    assert ground.yields == 1
    ground.each_s = 0.0001
    for _ in range(100):
        ground.selector.select()
    assert ground.yields == 101


def test_what_is_handed_over_during_a_yield_runs_in_the_same_turn() -> None:
    found: list[tuple[str, int]] = []

    class Counted(Patient):
        turns = 0

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            self.turns += 1
            return super().select(timeout)

    def note(name: str) -> None:
        found.append((name, selector.turns))
        if name == "second":
            loop.stop()

    def hand_over() -> None:
        loop.call_soon_threadsafe(note, "second")

    selector = Counted(hand_over)
    loop = asyncio.SelectorEventLoop(selector)
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, (note, "first"))
    thread.start()
    try:
        loop.run_forever()
    finally:
        thread.join()
        loop.close()
    assert [name for name, _ in found] == ["first", "second"]
    assert found[0][1] == found[1][1]
