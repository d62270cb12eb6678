"""Turns of a worker's event loop, each with all that has arrived by then.

    loop = event_loop()

The server's network thread wakes the loop for every request. Where both share a processor, as in a container of one CPU, the
loop would run at the first of several that have arrived, with the others still to be handed over: as many turns as requests,
and batches of one. So a turn that was waited for begins with a yield of the processor.
"""

import asyncio
import os
import selectors
import time
from collections.abc import Callable

_NEIGHBOR_S = 0.001  # a yield that took longer than this went to somebody else, who wants the processor, too
_TURNS = 1000  # that begin at once after that: a neighbor slows the service down no more than before


class Patient(selectors.DefaultSelector):
    """A selector that yields before it says what is ready, where that goes to nobody but threads of this process."""

    def __init__(self, give_way: Callable[[], None] = os.sched_yield, clock: Callable[[], float] = time.monotonic) -> None:
        """give_way: yields the processor, and Python's lock with it. clock: in seconds."""
        super().__init__()
        self._give_way, self._clock = give_way, clock
        self._at_once = 0  # turns

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return (key, events) of what is ready. timeout: seconds, None for ever; 0: the loop has work, and does not wait."""
        ready = super().select(timeout)
        if ready and timeout != 0:
            if self._at_once:
                self._at_once -= 1
            else:
                began = self._clock()
                self._give_way()
                if self._clock() - began > _NEIGHBOR_S:
                    self._at_once = _TURNS
        return ready


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop with such turns, and make it the thread's."""
    loop = asyncio.SelectorEventLoop(Patient())
    asyncio.set_event_loop(loop)
    return loop
