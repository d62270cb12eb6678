"""The micro-batcher: one thread that computes, fed by whatever waits.

    engine = Engine(predictor.predict, shape, batch_rows=0, wait_s=2.0)
    ticket = Ticket(rows, deadline=None, future=loop.create_future(), loop=loop)
    engine.submit(ticket)                       # Overloaded when it would wait too long
    outputs = await ticket.future

Greedy, as Triton's dynamic batcher is without a queue delay: the moment the model is free it takes what waits, up to
`batch_rows`; nothing waits for company, so an idle service adds no delay, and the thread sleeps on a condition. All rows of an
engine have one shape and one model. A batch that fails is computed again member by member: a poisoned request fails alone.
What nobody waits for any more is dropped before it is computed.

A small model is not worth a hand-over between threads: the caller computes it itself, where `inline` says so. Where several
callers of one event loop are about to, `gather` has the loop compute their rows together, in its next turn: nothing waits for
company, and requests that are parsed, computed and encoded in rows find the code in the cache, which a model empties.
"""

import asyncio
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from serving.errors import DeadlineExceeded, Overloaded
from serving.schema import Array
from serving.tickets import Piece, Settled, Ticket, deliver, settle, too_late

INLINE_S = 0.001  # a call of the model that is shorter than this is cheaper than a hand-over, and holds nobody up
_TURN_S = 0.004  # of calls that are made one after the other for those who came together
_CHUNK_S = 0.02  # a large request is computed in pieces of about this long, so that others get in between
_SIZES = (1, 2, 4, 8, 16, 32, 64)
# What a row alone in its call costs a worker beside the model: wake-ups, and a cache that the model has emptied. More rows
# share it, the first few gain most: beside a row's 1.8 ms it took 0.7, 0.5 and 0.3 ms in calls of 1, 4 and 16 rows.
_HANDOVER_S = 0.00045
_WORTH = 1.03  # the smallest batch is taken whose rows take at most so many times what they take in the best one
_ROUNDS = 4  # of calls that are timed at start
_MEMORY = 0.9  # of the running mean of seconds for each row
_SURPRISE = 4.0  # times the mean that a call may count


class Engine:
    """Computes tickets in their order, several at a time."""

    def __init__(self, predict: Callable[[Array], Array], shape: tuple[int, ...], *, batch_rows: int, wait_s: float) -> None:
        """Measure the model for a moment, then start the thread.

        predict: (batch, *shape) to (batch, outputs). batch_rows: 0 chooses the largest batch that pays.
        """
        self.compute = predict  # on the caller's thread
        self._wait_s = wait_s
        self.batch_rows, self.row_s, self._first_s = _measured(predict, shape, batch_rows)
        self._chunk = max(1, min(4096, int(_CHUNK_S / self.row_s)))
        self._gathered: list[Ticket] = []  # touched by the event loop alone
        self._waiting: deque[Ticket] = deque()
        self._queued = 0  # rows
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def queue_rows(self) -> int:
        """Rows that wait."""
        return self._queued

    def inline(self, rows: int) -> bool:
        """Return whether the caller computes that many rows faster itself than by asking."""
        return self._call_s(rows) < INLINE_S and not self._queued

    def _call_s(self, rows: int) -> float:
        """Return about how long one call takes."""
        return self._first_s + self.row_s * (rows - 1)

    def gather(self, ticket: Ticket) -> None:
        """Compute rows that are `inline` with those that come in the same turn of the ticket's event loop; call it there."""
        assert ticket.loop is not None
        self._gathered.append(ticket)
        if len(self._gathered) == 1:
            ticket.loop.call_soon(self._compute_gathered, ticket.loop)

    def _compute_gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        began, settled = time.monotonic(), list[Settled]()
        while pieces := self._next_gathered(began, first=not settled):
            del self._gathered[: len(pieces)]
            settled += self._answered(pieces)
        settle(settled)  # only now, so that they are encoded in a row
        if self._gathered:
            loop.call_soon(self._compute_gathered, loop)  # whatever else the loop has to do comes first

    def _next_gathered(self, began: float, *, first: bool) -> list[Piece]:
        """Return what is computed in the next call of a turn: a batch that there is time for, or whatever is the first."""
        now, count, pieces = time.monotonic(), 0, list[Piece]()
        for ticket in self._gathered:
            count += len(ticket.rows)
            large, late = count > self.batch_rows, now + self._call_s(count) > began + _TURN_S
            if (large and pieces) or (late and (pieces or not first)):
                break
            ticket.queue_s = now - ticket.submitted
            pieces.append((ticket, 0, len(ticket.rows)))
        return pieces

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket. Raises Overloaded when its turn would come too late."""
        rows = len(ticket.rows)
        with self._changed:
            # A large ticket goes to the end of the queue after each piece, so that it keeps a newcomer for one piece only.
            wait = sum(min(len(one.rows) - one.taken, self._chunk) for one in self._waiting) * self.row_s
            left = math.inf if ticket.deadline is None else ticket.deadline - time.monotonic()
            if rows * self.row_s > left:
                raise DeadlineExceeded(f"{rows} rows take about {rows * self.row_s:.1f} s; allow more time, or send fewer rows")
            if self._waiting and wait > min(self._wait_s, left):
                raise Overloaded(
                    f"{self._queued} rows wait already, about {wait:.1f} s of work; try again in a moment",
                    retry_after=max(1, math.ceil(wait)),
                )
            self._waiting.append(ticket)
            self._queued += rows
            if self._thread is None:
                # Started late, so that a model that is always computed inline has no thread.
                self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """End the thread once everything that waits has been answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        self._thread = None  # a ticket of somebody who took this engine just before it closed starts another
                        return
                    self._changed.wait()
                pieces, settled = self._take()
            deliver(settled + (self._answered(pieces) if pieces else []))

    def _take(self) -> tuple[list[Piece], list[Settled]]:
        """Take what waits, up to a batch; a ticket of more rows is taken in pieces, and goes to the end for its next one."""
        now = time.monotonic()
        pieces: list[Piece] = []
        late: list[Settled] = []
        room = self.batch_rows
        while self._waiting:
            ticket = self._waiting[0]
            left = len(ticket.rows) - ticket.taken
            if ticket.future.done() or (ticket.deadline is not None and ticket.deadline <= now):
                self._waiting.popleft()
                self._queued -= left
                late.append((ticket, too_late()))
                continue
            if pieces and left > room:
                break
            self._waiting.popleft()
            count = min(left, max(room, self._chunk))
            if not ticket.taken:
                ticket.queue_s = now - ticket.submitted
            pieces.append((ticket, ticket.taken, ticket.taken + count))
            ticket.taken += count
            self._queued -= count
            room -= count
            if count < left:
                self._waiting.append(ticket)
            if room <= 0:
                break
        return pieces, late

    def _answered(self, pieces: list[Piece]) -> list[Settled]:
        try:
            return self._computed(pieces)
        except Exception as error:  # a fault of our own must not end the thread that everybody waits for
            return [(ticket, error) for ticket, _, _ in pieces]

    def _computed(self, pieces: list[Piece]) -> list[Settled]:
        started = time.monotonic()
        found = self._outputs(pieces)
        seconds = time.monotonic() - started
        count = sum(stop - start for _, start, stop in pieces)
        row_s = min(seconds / count, _SURPRISE * self.row_s)  # a machine that stood still says nothing about the model
        self.row_s = _MEMORY * self.row_s + (1 - _MEMORY) * row_s
        settled: list[Settled] = []
        for (ticket, _, stop), outputs in zip(pieces, found, strict=True):
            ticket.compute_s += seconds
            ticket.batch = max(ticket.batch, count)
            if isinstance(outputs, BaseException):
                settled.append((ticket, outputs))
                continue
            ticket.parts.append(outputs)
            if stop == len(ticket.rows):
                settled.append((ticket, outputs if len(ticket.parts) == 1 else np.concatenate(ticket.parts)))
        return settled

    def _outputs(self, pieces: list[Piece]) -> list[Array | BaseException]:
        """Return the answers of each piece, or what it failed with."""
        rows = [ticket.rows[start:stop] for ticket, start, stop in pieces]
        try:
            outputs = self.compute(rows[0] if len(rows) == 1 else np.concatenate(rows))
        except Exception as error:  # whatever a runtime raises; the waiting side answers it
            if len(pieces) == 1:
                return [error]
            return [self._outputs([piece])[0] for piece in pieces]
        ends = np.cumsum([len(some) for some in rows])[:-1]
        return list(np.split(outputs, ends)) if len(rows) > 1 else [outputs]


def _measured(predict: Callable[[Array], Array], shape: tuple[int, ...], batch_rows: int) -> tuple[int, float, float]:
    """Return the batch size that pays, seconds for each row of it, and seconds of a call with one row."""

    def row_s(size: int) -> float:
        rows = np.zeros((size, *shape), dtype=np.float32)
        began = time.perf_counter()
        predict(rows)
        return max(time.perf_counter() - began, 1e-7) / size

    every: dict[int, list[float]] = {}  # by batch size
    for size in _SIZES:
        if every and (size * min(min(found) for found in every.values()) > 2 * _CHUNK_S or (batch_rows and size > batch_rows)):
            break
        every[size] = [min(row_s(size), row_s(size))]  # the first call takes longer
    for _ in range(_ROUNDS):  # in turns, so that a moment in which the machine was busy chooses nothing
        for size, found in every.items():
            found.append(row_s(size))
    usual = {size: statistics.median(found) for size, found in every.items()}
    costs = {size: seconds + _HANDOVER_S / math.sqrt(size) for size, seconds in usual.items()}
    best = next(size for size, cost in costs.items() if cost <= _WORTH * min(costs.values()))
    return batch_rows or best, usual[best], usual[1]
