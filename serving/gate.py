"""The gate: granian's asynchronous side (RSGI), which takes whole requests in and hands them on.

    gate = Gate(create_app(bundle))          # granian calls gate.__rsgi__(scope, protocol)

A WSGI server gives a request its thread while the body still trickles in, so a few slow clients hold all of them. Here a body
costs a coroutine until it is whole, is within its limit, and is in time. What asks a model, and what probes ask, then goes
straight to the functions that Flask's views call, too; anything else goes through Flask, in a small pool of threads.
"""

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from flask import Flask
from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]  # it imports them to be imported

from serving.control import POLL_S
from serving.encodings import inflated
from serving.endpoints import OTHER, Endpoint, dialect_of
from serving.errors import Failed, Overloaded, Refusal, SlowClient, TooLarge
from serving.exchange import Reply, Request
from serving.manners import Manners
from serving.service import Service
from serving.views import Views
from serving.wsgi import reply_of

_SMALL = 65_536  # bytes; a longer body is taken in chunk by chunk, and counted
_LONG = 65_536  # bytes of a body that is parsed on a thread
_HEAVY = {"image/", "multip"}  # how the content types of pictures begin, of which a few bytes may hold much
_MOST_HELD = 512 * 2**20  # bytes of all bodies together; more get 503
_MOST_CHUNKS = 65_536
_THREADS, _HEAVY_THREADS = 4, 2  # for Flask, and for bodies that take long to parse
_GONE = 499  # a client that left before its answer; nginx' number, only ever seen in metrics and logs
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}
_log = logging.getLogger("slipway.serving")


class Gate:
    """One worker's door."""

    def __init__(self, app: Flask, *, parent: int | None = None) -> None:
        """Open the door of an application; parent: the process that this one is to end with."""
        self._app = app
        self._service: Service = app.extensions["slipway"]
        self._manners = Manners(self._service)
        self._probes = Views(self._service).probes()
        self._limits = self._service.settings.limits
        self._reading: dict[asyncio.Task[Any], float] = {}  # who is sending a body, and until when
        self._in_flight = 0  # requests whose body is whole
        self._held = 0  # bytes of bodies
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="flask")
        self._heavy = ThreadPoolExecutor(_HEAVY_THREADS, thread_name_prefix="heavy")
        self._stop = threading.Event()
        self._parent = os.getppid() if parent is None else parent
        self._service.ledger.gauge("slipway_in_flight", lambda: float(self._in_flight))

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what goes on beside requests."""
        self._loop = loop
        gc.collect()
        gc.freeze()  # what is loaded by now stays; collections need not look at it again
        loop.call_soon(self._service.report)  # once the loop runs, and with it the server
        self._service.ledger.start()
        threading.Thread(target=self._housekeeping, name="housekeeping", daemon=True).start()
        loop.call_later(POLL_S, self._hurry)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """End it, and write down what has not been written yet."""
        self._stop.set()
        self._service.ledger.close()
        self._service.fleet.close()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        header = scope.headers.get
        request = Request(scope.method, scope.path, scope.query_string, header, b"", arrived=time.monotonic())
        endpoint = self._service.routes.get((request.method, request.path))
        try:
            reply = await self._reply(endpoint, request, scope, protocol)
        except (ProtocolClosed, ProtocolError):  # the client has gone, or sent what is no HTTP
            self._service.note(endpoint or OTHER, request, _GONE, "client_closed_request")
            return
        except Exception as error:
            refusal = error if isinstance(error, Refusal) else Failed()
            if refusal is not error:
                _log.exception("request %s failed", request.id)
            reply = (endpoint or dialect_of(request.path)).refuse(refusal, request)
            if refusal.status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT}:
                reply.headers.append(("connection", "close"))  # the rest of the body is not worth reading
            reply.headers += self._manners.headers(request)
            self._service.note(endpoint or OTHER, request, reply.status, refusal.code)
        finally:
            self._held -= request.held
        with suppress(ProtocolClosed):
            kind = [("content-type", reply.content_type)] if reply.content_type else []  # none of 204 and 304
            protocol.response_bytes(reply.status, [*kind, *reply.headers], reply.body)

    async def _reply(self, endpoint: Endpoint | None, request: Request, scope: Any, protocol: Any) -> Reply:
        if endpoint is None:
            probe = self._probes.get(request.path) if request.method == "GET" else None
            self._manners.receive(request)
            if probe is not None:
                reply = probe(request)
                self._service.note(OTHER, request, reply.status)
                reply.headers += self._manners.headers(request)
                return reply
            return await self._through_flask(request, scope, protocol)
        self._manners.receive(request)
        self._service.check_key(request)
        request.body = await self._body(request, protocol)
        if self._in_flight >= self._service.settings.in_flight:
            raise Overloaded(f"{self._in_flight} requests are being answered already; try again in a moment", retry_after=1)
        self._in_flight += 1
        try:
            encoding = request.header("content-encoding")
            if encoding or len(request.body) > _LONG or request.content_type[:6].lower() in _HEAVY:
                # Others would notice how long it takes to read.
                if encoding:
                    request.body = await self._loop.run_in_executor(
                        self._heavy, inflated, request.body, encoding, self._limits.body_bytes
                    )
                reply = await self._service.answer_soon(endpoint, request, self._heavy)
            else:
                # Others whose bodies are on their way are likely to arrive in this turn of the loop.
                reply = await self._service.answer_soon(endpoint, request, together=bool(self._reading))
        finally:
            self._in_flight -= 1
        reply.headers += self._manners.headers(request)
        return reply

    async def _body(self, request: Request, protocol: Any) -> bytes:
        """Return the whole body; raises TooLarge as soon as it is known to be, SlowClient when it is not there in time."""
        limit, given = self._limits.body_bytes, request.header("content-length")
        length = int(given) if given is not None and given.isascii() and given.isdigit() else None
        if length is not None and length > limit:
            raise self._too_large()
        task = asyncio.current_task()
        assert task is not None
        until = request.arrived + self._service.settings.read_s
        self._reading[task] = until if request.deadline is None else min(until, request.deadline)
        try:
            if length is not None and length <= _SMALL:
                self._hold(request, length)
                body: bytes = await protocol()
                return body
            return await self._chunks(request, protocol)
        except asyncio.CancelledError:
            if task not in self._reading:  # cancelled by _hurry, which took it out; otherwise the worker ends
                task.uncancel()
                seconds = time.monotonic() - request.arrived
                raise SlowClient(f"the request did not arrive within {seconds:.0f} s; send it faster, or less") from None
            raise
        finally:
            self._reading.pop(task, None)

    async def _chunks(self, request: Request, protocol: Any) -> bytes:
        body, count = bytearray(), 0
        async for chunk in protocol:
            self._hold(request, len(chunk))
            body += chunk
            count += 1
            if len(body) > self._limits.body_bytes or count > _MOST_CHUNKS:
                raise self._too_large()
        return bytes(body)

    def _hold(self, request: Request, count: int) -> None:
        """Count bytes of a body; raises Overloaded where all bodies together would take too much memory."""
        if self._held + count > max(_MOST_HELD, 2 * self._limits.body_bytes):
            raise Overloaded("too many large requests are being read already; try again in a moment", retry_after=1)
        self._held += count
        request.held += count

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._limits.body_bytes} bytes; send fewer rows in a request")

    def _hurry(self) -> None:
        """Cancel whoever has been sending for too long."""
        now = time.monotonic()
        for task, until in list(self._reading.items()):
            if now > until:
                del self._reading[task]
                task.cancel()
        self._loop.call_later(POLL_S, self._hurry)

    async def _through_flask(self, request: Request, scope: Any, protocol: Any) -> Reply:
        if request.method in _WRITES and not request.path.startswith("/admin/"):  # those have a key of their own
            self._service.check_key(request)
        body = await self._body(request, protocol) if request.method in _WRITES else b""
        return await self._loop.run_in_executor(self._pool, reply_of, self._app, request, body, scope)

    def _housekeeping(self) -> None:
        """Follow orders, and end with the parent; on a thread of its own."""
        while not self._stop.wait(POLL_S):
            try:
                self._service.follow()
            except Exception:  # a full disk, say: the next round may do better, and requests are answered meanwhile
                _log.exception("orders could not be followed")
            if os.getppid() != self._parent:  # the parent was killed: nobody would ever stop this worker
                os.kill(os.getpid(), signal.SIGTERM)
                return  # a second signal in the handler of the first can lock up granian 2.8.7
