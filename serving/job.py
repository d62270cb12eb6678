"""One request on its way through a model, and what is written down of it.

steps = job.steps(fleet, loop)
step = advanced(steps)        # a Reply: a small model has been computed at once; or a Ticket
…                             # wait for ticket.future, on a thread or on an event loop
reply = advanced(steps)
"""

import asyncio
import logging
import time
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.endpoints import Endpoint
from serving.errors import DeadlineExceeded, Failed, Refusal
from serving.exchange import Reply, Request, Work
from serving.fleet import Fleet, Loaded
from serving.schema import Array
from serving.telemetry import Entry
from serving.tickets import Ticket

_log = logging.getLogger("slipway.serving")

Steps = Generator[Ticket, None, Reply]


@dataclass(slots=True)
class Job:
    """A request, and what became of it so far. began, decoded, computed: `time.monotonic()` at the end of each part."""

    endpoint: Endpoint
    request: Request
    model: Loaded | None = None
    work: Work | None = None
    ticket: Ticket | None = None
    outputs: Array | None = None  # (batch, outputs), once answered
    reason: str = ""
    began: float = field(default_factory=time.monotonic)
    decoded: float = 0.0
    computed: float = 0.0

    def steps(self, fleet: Fleet, loop: asyncio.AbstractEventLoop | None, together: bool = False) -> Steps:
        """Yield a ticket where its answer must be waited for, and return the reply.

        loop: on which it is waited for. together: whether others may come in the same turn of the loop, which this runs on.
        """
        endpoint, request = self.endpoint, self.request
        try:
            self.model = model = fleet.route(request.id, endpoint.version)
            self.work = work = model.codecs[endpoint.protocol].parse(request)
            self.decoded = time.monotonic()
            deadline = _deadline(work, request)
            if deadline is not None and self.decoded >= deadline:
                raise DeadlineExceeded("the deadline passed before the model was asked; allow more time")
            engine = model.engine
            inline = engine.inline(len(work.rows))
            if inline and not (together and engine.batch_rows > 1):
                outputs = engine.compute(work.rows)
            else:
                future: asyncio.Future[Array] | Future[Array] = Future() if loop is None else loop.create_future()
                # What is computed within this turn of the loop needs no timer.
                self.ticket = ticket = Ticket(work.rows, None if inline else deadline, future, loop)
                (engine.gather if inline else engine.submit)(ticket)
                yield ticket
                outputs = ticket.future.result()
            self.computed = time.monotonic()
            if deadline is not None and self.computed >= deadline:
                raise DeadlineExceeded("the deadline passed while the model computed; allow more time, or send fewer rows")
            reply = work.encode(outputs)
            self.outputs = outputs
        except Refusal as refusal:
            self.reason = refusal.code
            reply = endpoint.refuse(refusal, request)
        except Exception:  # whatever it is, the client gets an answer, and the log its cause
            _log.exception("request %s failed", request.id)
            self.reason = Failed.code
            reply = endpoint.refuse(Failed(), request)
        if self.model is not None:
            reply.headers += self.model.headers
        return reply

    def entry(self, reply: Reply, role: str) -> Entry:
        """Return what the ledger keeps."""
        now = time.monotonic()
        work, ticket, outputs = self.work, self.ticket, self.outputs
        rows = 0 if work is None else len(work.rows)
        decoded = self.decoded or now
        queue, compute, batch = 0.0, (self.computed or now) - decoded, rows if self.computed else 0
        if ticket is not None:
            queue, compute, batch = ticket.queue_s, ticket.compute_s, ticket.batch
        arrived = self.request.arrived or self.began
        return Entry(
            protocol=self.endpoint.protocol,
            status=reply.status,
            model="" if self.model is None else self.model.digest,
            rows=rows,
            read=self.began - arrived,
            decode=decoded - self.began,
            queue=queue,
            compute=compute,
            encode=now - self.computed if self.computed else 0.0,
            total=now - arrived,
            batch=batch,
            id=self.request.id,
            at=time.time(),
            reason=self.reason,
            inputs=None if work is None or outputs is None else work.rows,
            outputs=outputs,
            role=role,
        )


def advanced(steps: Steps) -> Ticket | Reply:
    """Take the next step: to a ticket that must be waited for, or to the end."""
    try:
        return next(steps)
    except StopIteration as done:  # cannot pass through the future of an executor
        reply: Reply = done.value
        return reply


def _deadline(work: Work, request: Request) -> float | None:
    """Return the earlier one of the request's deadline and the one that its body names."""
    if work.timeout is None:
        return request.deadline
    own = request.arrived + work.timeout
    return own if request.deadline is None else min(request.deadline, own)
