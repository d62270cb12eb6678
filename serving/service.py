"""From a request to a reply, whatever server carries them.

    service = Service(Bundle(folder), Settings())
    reply = service.answer(endpoint, request)              # on the caller's thread, as Flask's views do
    reply = await service.answer_soon(endpoint, request)   # on an event loop, as the gate does

Both drive the same steps (serving.job): route, parse, compute here or in the model's engine, encode.
"""

import asyncio
import hmac
import os
import threading
import time
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.bundle import Bundle
from serving.control import Control, Order, Report
from serving.encodings import deflated
from serving.endpoints import Endpoint, codecs_of, routes_to
from serving.errors import ServingError, Unauthorized, without_folder
from serving.exchange import Reply, Request
from serving.facts import ModelFacts
from serving.fleet import Fleet
from serving.job import Job, advanced
from serving.settings import Settings
from serving.shadow import follow
from serving.telemetry import Entry, Ledger, RequestLog
from serving.telemetry.untraced import Untraced
from serving.tickets import Ticket

_EXAMPLE_ROWS, _EXAMPLE_PICTURES = 24, 6


class Service:
    """The models, what is counted about them, and the steps of a request."""

    def __init__(self, bundle: Bundle, settings: Settings, order: Order | None = None) -> None:
        """Load the models; the service lives, unready, where that fails.

        order: the one that `bundle` was chosen by; None: the first.
        """
        self.settings = settings
        self.control = Control(settings.shared)
        self.control.begin(bundle)
        self._following = threading.RLock()  # one thread at a time: a report that is overtaken would be the last word
        order = order or self.control.order()
        # What is under way is followed later: its bundle is not the one that was chosen here.
        self._followed, self._refusals = order.settled, order.refusals
        self.fleet = Fleet(bundle, settings, codecs_of, seal=order.served_seal)
        log = RequestLog(settings.log_file, inputs=settings.log_inputs) if settings.log_file else None
        self.ledger = Ledger(shared=settings.shared, log=log, traces=_traces(settings))
        self.ledger.gauge("slipway_ready", lambda: float(self.ready), merge="min")
        self.ledger.gauge("slipway_queue_rows", self._queue_rows)
        self.routes: dict[tuple[str, str], Endpoint] = {}  # where the models answer, for an exact method and path
        self._renew()

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self.fleet.live is not None and not self.fleet.draining

    def answer(self, endpoint: Endpoint, request: Request) -> Reply:
        """Answer a request on this thread."""
        job = Job(endpoint, request)
        steps = job.steps(self.fleet, None)
        step = advanced(steps)
        if isinstance(step, Ticket):
            _wait(step)
            step = advanced(steps)
        assert isinstance(step, Reply)
        return self._written_down(job, step)

    async def answer_soon(
        self, endpoint: Endpoint, request: Request, pool: Executor | None = None, *, together: bool = False
    ) -> Reply:
        """Answer a request on the running event loop, which is free while the model computes.

        pool: where to parse and encode what takes long; None: on the loop. together: whether others are about to come, too;
        not with a pool.
        """
        loop = asyncio.get_running_loop()
        job = Job(endpoint, request)
        steps = job.steps(self.fleet, loop, together)
        step = advanced(steps) if pool is None else await loop.run_in_executor(pool, advanced, steps)
        if isinstance(step, Ticket):
            await _awaited(step, loop)
            step = advanced(steps) if pool is None else await loop.run_in_executor(pool, advanced, steps)
        assert isinstance(step, Reply)
        return self._written_down(job, step)

    def check_key(self, request: Request) -> None:
        """Raise Unauthorized where a key is asked for and the request's is none of them."""
        if not self.settings.keys:
            return
        given = given_key(request)
        # Every key is compared, each in constant time, so that the time says nothing about any of them.
        if not sum(hmac.compare_digest(given, key) for key in self.settings.keys):
            raise Unauthorized("this service asks for a key: send Authorization: Bearer <key>, or X-API-Key")

    def note(self, endpoint: Endpoint, request: Request, status: int, reason: str = "") -> None:
        """Write down a request that went to no model."""
        total = time.monotonic() - request.arrived
        entry = Entry(endpoint.protocol, status, "", 0, 0.0, 0.0, 0.0, 0.0, 0.0, total, 0, request.id, time.time(), reason)
        self._record(entry, request)

    def facts(self) -> ModelFacts | None:
        """Return what is known of the live model."""
        return None if self.fleet.live is None else self.fleet.live.facts

    def examples(self) -> list[Any]:
        """Return rows as a client sends them, and files of pictures, that the evaluated model has answered."""
        if self.fleet.live is None:
            return []
        golden = self.fleet.live.golden
        return [*golden.inputs[:_EXAMPLE_ROWS], *golden.pictures[:_EXAMPLE_PICTURES]]

    def follow(self) -> None:
        """Do what the present order says, and report on it; a bundle that is not fit is refused, and the old model stays."""
        with self._following:
            order = self.control.order()
            self.fleet.draining = order.draining
            if order.generation != self._followed:
                self._followed, refused = order.generation, None
                try:
                    self.fleet.swap(Path(order.bundle), order.seal)
                    self._renew()
                except (ServingError, OSError) as error:
                    refused = without_folder(error, Path(order.bundle))
                self.report(refused)
            if order.refusals != self._refusals:  # by another worker, or there was no bundle at all
                self.fleet.refused, self._refusals = order.refused, order.refusals
            for result in self.control.uncounted():
                self.ledger.count("slipway_swaps_total", {"result": result})

    def report(self, refused: str | None = None) -> None:
        """Say what this worker serves."""
        with self._following:
            self.control.report(Report(os.getpid(), self._followed, self.fleet.digest, refused, self.fleet.unready))

    def _renew(self) -> None:
        """Note which models there are: where they answer, and what their train rows looked like."""
        models = self.fleet.models()
        versions = [model.facts.description.version for role, model in models.items() if role != "shadow"]
        self.routes = routes_to(self.fleet.description.name, versions)
        self.ledger.watch({role: (model.facts, model.reference) for role, model in models.items()})

    def _written_down(self, job: Job, reply: Reply) -> Reply:
        model, outputs = job.model, job.outputs
        self._record(job.entry(reply, "live" if model is None else self.fleet.role(model)), job.request)
        if outputs is not None and self.fleet.shadow is not None and model is self.fleet.live:
            assert job.work is not None
            follow(self.fleet.shadow, job.work.rows, outputs, job.computed - job.decoded, self.ledger)
        return deflated(reply, job.request.header("accept-encoding"))

    def _record(self, entry: Entry, request: Request) -> None:
        if self.settings.traced:
            entry.path, entry.traceparent = request.path, request.header("traceparent") or ""
        self.ledger.record(entry)

    def _queue_rows(self) -> float:
        return float(sum(model.engine.queue_rows for model in self.fleet.models().values()))


def _traces(settings: Settings) -> Untraced:
    if not settings.traced:
        return Untraced()
    from serving.telemetry.traces import Traces  # its packages are an extra

    return Traces()


def given_key(request: Request) -> bytes:
    """Return the key that a request brings, or nothing."""
    scheme, _, key = (request.header("authorization") or "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.header("x-api-key") or ""
    return key.strip().encode()


def _wait(ticket: Ticket) -> None:
    """Wait until a ticket is settled, whatever its answer is; at its deadline, settle it."""
    assert isinstance(ticket.future, Future)
    remaining = None if ticket.deadline is None else max(0.0, ticket.deadline - time.monotonic())
    if not wait([ticket.future], timeout=remaining).done:
        ticket.expire()


async def _awaited(ticket: Ticket, loop: asyncio.AbstractEventLoop) -> None:
    """As `_wait`, on an event loop."""
    assert isinstance(ticket.future, asyncio.Future)
    timer = None if ticket.deadline is None else loop.call_later(max(0.0, ticket.deadline - time.monotonic()), ticket.expire)
    try:
        with suppress(Exception):  # the steps take the answer out of the ticket, and with it the error
            await ticket.future
    finally:
        if timer is not None:
            timer.cancel()
