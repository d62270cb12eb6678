"""The micro-batcher: greedy, bounded, fair, and no member's fault is another's."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.engine import Engine
from serving.errors import DeadlineExceeded, Overloaded
from serving.schema import Array
from serving.tickets import Ticket

SHAPE = (2,)


class Model:
    """Doubles its rows, in a time that the test decides; refuses rows that hold a 13."""

    def __init__(self, row_s: float = 0.0, call_s: float = 0.0) -> None:
        self.row_s, self.call_s = row_s, call_s
        self.batches: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, rows: Array) -> Array:
        self.free.wait(10)
        if seconds := self.call_s + self.row_s * len(rows):
            time.sleep(seconds)
        self.batches.append(len(rows))
        if (rows == 13).any():
            raise RuntimeError("poisoned")
        return rows * 2


Make = Callable[..., tuple[Engine, Model]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Engine] = []

    def engine(*, batch_rows: int = 8, wait_s: float = 5.0, row_s: float = 0.0, call_s: float = 0.002) -> tuple[Engine, Model]:
        model = Model(row_s, call_s)
        made.append(Engine(model, SHAPE, batch_rows=batch_rows, wait_s=wait_s))
        model.batches.clear()  # those of the measurement
        return made[-1], model

    yield engine
    for one in made:
        one.close()


def rows(value: float, count: int = 1) -> Array:
    return np.full((count, *SHAPE), value, dtype=np.float32)


def asked(engine: Engine, given: Array, deadline: float | None = None) -> Ticket:
    ticket = Ticket(given, deadline, Future())
    engine.submit(ticket)
    return ticket


def held(engine: Engine, model: Model) -> Ticket:
    """Keep the model busy with one row until `model.free` is set."""
    model.free.clear()
    ticket = asked(engine, rows(1))
    deadline = time.monotonic() + 10
    while engine.queue_rows:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return ticket


def answer(ticket: Ticket) -> Array:
    assert isinstance(ticket.future, Future)
    return ticket.future.result(timeout=10)


def test_what_waits_while_the_model_works_is_computed_together_and_answered_apart(make: Make) -> None:
    engine, model = make()
    tickets = [held(engine, model), *(asked(engine, rows(value)) for value in range(2, 6))]
    model.free.set()
    for value, ticket in enumerate(tickets, start=1):
        np.testing.assert_array_equal(answer(ticket), rows(2 * value))
    assert model.batches == [1, 4]  # the first was taken at once, the others were there when the model was free again
    assert [ticket.batch for ticket in tickets] == [1, 4, 4, 4, 4]
    assert engine.queue_rows == 0


def test_an_idle_engine_answers_at_once_and_sleeps_otherwise(make: Make) -> None:
    engine, _ = make(call_s=0.001)
    answer(asked(engine, rows(1)))
    before = time.thread_time(), time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before[1] < 0.1  # a spinning thread would have used all of it
    ticket = asked(engine, rows(1))
    answer(ticket)
    assert ticket.queue_s < 0.05


def test_a_poisoned_request_fails_alone(make: Make) -> None:
    engine, model = make()
    model.free.clear()
    tickets = [asked(engine, rows(value)) for value in (1, 2, 13, 4)]
    model.free.set()
    for value, ticket in zip((1, 2, 13, 4), tickets, strict=True):
        if value == 13:
            with pytest.raises(RuntimeError, match="poisoned"):
                answer(ticket)
        else:
            np.testing.assert_array_equal(answer(ticket), rows(2 * value))
    np.testing.assert_array_equal(answer(asked(engine, rows(5))), rows(10))  # and the thread lives on


def test_more_than_can_be_answered_in_time_is_refused_with_the_time_to_wait(make: Make) -> None:
    engine, model = make(wait_s=0.05, row_s=0.01)
    model.free.clear()
    taken: list[Ticket] = []
    with pytest.raises(Overloaded) as caught:
        taken += (asked(engine, rows(1)) for _ in range(200))
    assert 3 <= len(taken) <= 20  # about wait_s of work, and one batch that is being computed
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 1
    model.free.set()
    for ticket in taken:
        assert answer(ticket).shape == (1, *SHAPE)  # what was accepted is answered


def test_a_request_that_would_come_too_late_for_its_own_deadline_is_refused_at_once(make: Make) -> None:
    engine, model = make(wait_s=60.0, row_s=0.01)
    model.free.clear()
    tickets = [asked(engine, rows(1)) for _ in range(20)]
    with pytest.raises(Overloaded):
        asked(engine, rows(1), deadline=time.monotonic() + 0.02)
    model.free.set()
    assert all(len(answer(ticket)) == 1 for ticket in tickets)


def test_nothing_is_computed_for_a_deadline_that_has_passed_or_a_client_that_has_gone(make: Make) -> None:
    engine, model = make()
    first = held(engine, model)
    late = asked(engine, rows(2), deadline=time.monotonic() + 0.01)
    gone = asked(engine, rows(3))
    gone.future.cancel()
    time.sleep(0.05)
    model.free.set()
    answer(first)
    with pytest.raises(DeadlineExceeded):
        answer(late)
    answer(asked(engine, rows(4)))
    assert sum(model.batches) == 2
    assert engine.queue_rows == 0


def test_a_large_request_is_computed_in_pieces_and_a_small_one_gets_in_between(make: Make) -> None:
    engine, model = make(row_s=0.004, call_s=0.0)
    large = asked(engine, np.arange(100, 180, dtype=np.float32).reshape(40, 2))
    small = asked(engine, rows(7))
    np.testing.assert_array_equal(answer(small), rows(14))
    assert not large.future.done()
    np.testing.assert_array_equal(answer(large), np.arange(100, 180, dtype=np.float32).reshape(40, 2) * 2)
    assert max(model.batches) <= 9


def test_an_event_loop_is_woken_once_for_each_batch(make: Make) -> None:
    engine, model = make()

    async def scenario() -> tuple[list[Array], int]:
        loop = asyncio.get_running_loop()
        wakes = 0
        real = loop.call_soon_threadsafe

        def counted(*arguments: object, **more: object) -> asyncio.Handle:
            nonlocal wakes
            wakes += 1
            return real(*arguments, **more)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        held(engine, model)
        tickets = [Ticket(rows(value), None, loop.create_future(), loop) for value in range(1, 7)]
        for ticket in tickets:
            engine.submit(ticket)
        model.free.set()
        found = [await ticket.future for ticket in tickets if isinstance(ticket.future, asyncio.Future)]
        return found, wakes

    found, wakes = asyncio.run(scenario())
    assert [float(one[0, 0]) for one in found] == [2, 4, 6, 8, 10, 12]
    assert model.batches == [1, 6]
    assert wakes == 1


def test_a_small_model_is_computed_by_the_caller_and_a_large_one_is_not(make: Make) -> None:
    fast, _ = make(call_s=0.0)
    slow, _ = make(call_s=0.005)
    assert fast.inline(1)
    assert not slow.inline(1)


def gathered(engine: Engine, *given: Array) -> list[Array | BaseException]:
    """Return what tickets of one turn of an event loop are answered, or fail with."""

    async def scenario() -> list[Array | BaseException]:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in given]
        for some, future in zip(given, futures, strict=True):
            engine.gather(Ticket(some, None, future, loop))
        found: list[Array | BaseException] = await asyncio.gather(*futures, return_exceptions=True)
        return found

    return asyncio.run(scenario())


def test_what_comes_in_one_turn_of_the_loop_is_computed_in_calls_of_at_most_a_batch(make: Make) -> None:
    engine, model = make(batch_rows=4, call_s=0.0)
    found = gathered(engine, *(rows(value, count) for value, count in [(1, 1), (2, 2), (3, 1), (4, 3), (5, 6), (6, 1)]))
    assert model.batches == [4, 3, 6, 1], "a request that is larger than a batch has a call of its own"
    assert [(one[0, 0], len(one)) for one in found if isinstance(one, np.ndarray)] == [
        (2, 1), (4, 2), (6, 1), (8, 3), (10, 6), (12, 1)
    ]  # fmt: skip


def test_a_turn_of_calls_ends_after_milliseconds_and_the_loop_answers_before_it_computes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, happened = 0.0, list[str]()

    def predict(rows: Array) -> Array:
        nonlocal now
        now += 0.0009 * len(rows)
        happened.append("computed")
        return rows

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now)
    monkeypatch.setattr("serving.engine.time", clock)
    engine = Engine(predict, SHAPE, batch_rows=1, wait_s=5.0)
    happened.clear()

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        engine.gather(Ticket(rows(1), None, future, loop))
        await future
        happened.append("answered")

    async def scenario() -> None:
        await asyncio.gather(*(ask() for _ in range(6)))

    asyncio.run(scenario())
    assert happened == ["computed"] * 4 + ["answered"] * 4 + ["computed"] * 2 + ["answered"] * 2


def test_a_poisoned_member_of_one_turn_fails_alone(make: Make) -> None:
    engine, _ = make(call_s=0.0)
    found = gathered(engine, rows(1), rows(13), rows(3))
    assert [isinstance(one, RuntimeError) for one in found] == [False, True, False]


def test_who_has_left_in_the_same_turn_costs_the_others_nothing(make: Make) -> None:
    engine, _ = make(call_s=0.0)

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        gone, there = loop.create_future(), loop.create_future()
        for future in (gone, there):
            engine.gather(Ticket(rows(1), None, future, loop))
        gone.cancel()
        return float((await there)[0, 0])

    assert asyncio.run(scenario()) == 2


@pytest.mark.parametrize(
    ("call_s", "row_s", "sizes"),
    [
        (0.004, 0.0, {64}),  # a call costs the same, whatever it holds
        (0.0, 0.008, {1}),  # nothing is gained, and a hand-over is little beside a row
        (0.0, 0.0015, {2, 4, 8}),  # nothing is gained either, but a hand-over is worth sharing
        (0.0, 0.05, {1}),  # two rows would take too long together
    ],
)
def test_the_batch_size_is_what_pays(call_s: float, row_s: float, sizes: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def predict(rows: Array) -> Array:
        nonlocal now
        now += call_s + row_s * len(rows)
        return rows

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("serving.engine.time", clock)  # a busy machine must not choose
    engine = Engine(predict, SHAPE, batch_rows=0, wait_s=5.0)
    engine.close()
    assert engine.batch_rows in sizes


def test_a_moment_in_which_the_machine_was_busy_does_not_choose_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, 0

    def predict(rows: Array) -> Array:
        nonlocal now, calls
        calls += 1
        now += 0.004 * (30 if 14 < calls <= 21 else 1)  # as long as it takes to time each size once
        return rows

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("serving.engine.time", clock)
    engine = Engine(predict, SHAPE, batch_rows=0, wait_s=5.0)
    assert engine.batch_rows == 64
    assert engine.row_s == pytest.approx(0.004 / 64)
    assert calls > 21


def test_a_large_request_keeps_a_newcomer_for_one_piece_only(make: Make) -> None:
    engine, model = make(wait_s=0.3, row_s=0.004, call_s=0.0)
    busy = held(engine, model)
    large = asked(engine, rows(7, 500))  # two seconds of work, in pieces
    small = asked(engine, rows(5))
    model.free.set()
    np.testing.assert_array_equal(answer(small), rows(10))
    assert not large.future.done()
    answer(busy)


def test_what_cannot_be_computed_within_its_deadline_is_refused_before_any_of_it_is(make: Make) -> None:
    engine, model = make(row_s=0.004, call_s=0.0)
    with pytest.raises(DeadlineExceeded, match="500 rows take about"):
        asked(engine, rows(1, 500), deadline=time.monotonic() + 0.5)
    assert model.batches == []


@pytest.mark.parametrize("make_future", [Future, lambda: asyncio.new_event_loop().create_future()])
def test_a_ticket_that_is_settled_twice_keeps_its_first_answer(make_future: Callable[[], Any]) -> None:
    future = make_future()
    ticket = Ticket(rows(1), None, future)
    ticket.settle(rows(2))
    ticket.expire()
    ticket.settle(rows(3))
    np.testing.assert_array_equal(future.result(), rows(2))
    if isinstance(future, asyncio.Future):
        future.get_loop().close()


def test_closing_answers_what_waits_and_ends_the_thread(make: Make) -> None:
    engine, model = make()
    model.free.clear()
    tickets = [asked(engine, rows(value)) for value in range(3)]
    engine.close()
    model.free.set()
    assert all(len(answer(ticket)) == 1 for ticket in tickets)
    deadline = time.monotonic() + 5
    while engine._thread is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    np.testing.assert_array_equal(answer(asked(engine, rows(1))), rows(2))  # who held it still gets an answer


def test_many_threads_at_once_each_get_their_own_answer(make: Make) -> None:
    engine, _ = make(call_s=0.0, batch_rows=16)
    wrong: list[int] = []

    def client(number: int) -> None:
        for step in range(50):
            value = number * 1000 + step + 20
            if not np.array_equal(answer(asked(engine, rows(value, 1 + step % 3))), rows(2 * value, 1 + step % 3)):
                wrong.append(value)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
