"""Tickets: rows that wait to be computed, and how their answers get back to whoever waits.

ticket = Ticket(rows, deadline=None, future=loop.create_future(), loop=loop)
deliver([(ticket, outputs)])        # from any thread; `settle` on the thread of the one who waits
"""

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

from serving.errors import DeadlineExceeded
from serving.schema import Array


@dataclass(slots=True, eq=False)
class Ticket:
    """Rows that wait to be computed, and the future of their answers.

    deadline: `time.monotonic()` after which nobody waits. queue_s, compute_s, batch: filled in for telemetry.
    """

    rows: Array  # (batch, *shape)
    deadline: float | None
    future: "asyncio.Future[Array] | Future[Array]"
    loop: asyncio.AbstractEventLoop | None = None
    submitted: float = field(default_factory=time.monotonic)
    queue_s: float = 0.0
    compute_s: float = 0.0
    batch: int = 0
    taken: int = 0
    parts: list[Array] = field(default_factory=list)

    def settle(self, result: Array | BaseException) -> None:
        """Give the waiting side its answer, on its own thread; one that has gone is let go."""
        with suppress(asyncio.InvalidStateError, InvalidStateError):  # settled already, or just now on another thread
            if isinstance(result, BaseException):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)

    def expire(self) -> None:
        """Tell the waiting side that its deadline has passed."""
        self.settle(too_late())


Piece = tuple[Ticket, int, int]  # rows [start, stop) of a ticket
Settled = tuple[Ticket, Array | BaseException]


def too_late() -> DeadlineExceeded:
    """Return what somebody is told whose deadline has passed."""
    return DeadlineExceeded("the deadline passed before the answer was there; allow more time, or send fewer rows")


def deliver(settled: Iterable[Settled]) -> None:
    """Settle each ticket where it is waited for; an event loop is woken once for all of its tickets."""

    def home(one: Settled) -> int:
        return id(one[0].loop)

    for _, group in groupby(sorted(settled, key=home), key=home):
        together = list(group)
        loop = together[0][0].loop
        if loop is None:
            settle(together)
        elif not loop.is_closed():  # closed: the worker has ended, and so has everybody who waited
            loop.call_soon_threadsafe(settle, together)


def settle(settled: Iterable[Settled]) -> None:
    """Give each its answer, on the thread of those who wait."""
    for ticket, result in settled:
        ticket.settle(result)
