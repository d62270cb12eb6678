"""What every request and every reply have in common: an id, a deadline, and headers.

manners.receive(request)             # fills in id and deadline
reply.headers += manners.headers(request)
"""

import os
import re
from itertools import count

from serving.errors import InvalidInput
from serving.exchange import Reply, Request
from serving.service import Service

_ID = re.compile(r"[!-~]{1,128}")  # visible ASCII: it is sent back in a header, and written to the log
_TIMEOUT = re.compile(r"[0-9]{1,8}")
_MOST_MS = 86_400_000
_ALWAYS = [("x-content-type-options", "nosniff"), ("cache-control", "no-store")]
_MINUTES = "600"  # seconds for which a browser may remember a preflight


class Manners:
    """Ids, deadlines and headers of one worker."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._deadline_s = service.settings.deadline_s
        self._origins = set(service.settings.origins)
        # Random once for each worker, then counted: unique across workers, and cheaper than random each time.
        self._prefix, self._numbers = os.urandom(6).hex(), count(1)

    def receive(self, request: Request) -> None:
        """Give a request its id and its deadline. Raises InvalidInput for a timeout that is none."""
        if request.id:
            return  # the gate did, and Flask does it again
        given = request.header("x-request-id")
        request.id = given if given and _ID.fullmatch(given) else f"{self._prefix}-{next(self._numbers):08x}"
        request.deadline = request.arrived + self._deadline_s
        timeout = request.header("x-request-timeout-ms")
        if timeout is not None:
            if not _TIMEOUT.fullmatch(timeout) or not 0 < int(timeout) <= _MOST_MS:
                raise InvalidInput(
                    f"X-Request-Timeout-Ms must be a whole number from 1 to {_MOST_MS}, got {timeout[:100]!r}",
                    field="X-Request-Timeout-Ms",
                )
            request.deadline = min(request.deadline, request.arrived + int(timeout) / 1000)

    def headers(self, request: Request) -> list[tuple[str, str]]:
        """Return the headers that every reply has, whatever it is."""
        found = [("x-request-id", request.id), *_ALWAYS]
        if self._service.fleet.draining:
            found.append(("connection", "close"))  # the client's next request goes elsewhere
        if self._origins:
            found += self._shared_with(request.header("origin"))
        return found

    def preflight(self, request: Request) -> Reply:
        """Answer a browser that asks whether a page of another origin may ask."""
        reply = Reply(204, b"", "")
        if not self._knows(request.header("origin")):
            return reply
        reply.headers += [
            ("access-control-allow-methods", "GET, POST"),
            ("access-control-allow-headers", "authorization, content-type, x-api-key, x-request-id, x-request-timeout-ms"),
            ("access-control-max-age", _MINUTES),
        ]
        return reply

    def _knows(self, origin: str | None) -> bool:
        return origin is not None and not self._origins.isdisjoint({origin, "*"})

    def _shared_with(self, origin: str | None) -> list[tuple[str, str]]:
        vary = [("vary", "origin")]
        if origin is None or not self._knows(origin):
            return vary
        exposed = "x-request-id, x-model-version, x-model-digest, retry-after"
        return [*vary, ("access-control-allow-origin", origin), ("access-control-expose-headers", exposed)]
