"""One request and one reply, free of any web framework: what the gate, the Flask application and every protocol share.

request = Request("POST", "/predict", "", {"content-type": "application/json"}.get, b'{"inputs": […]}', id="4f0c…")
work = codec.parse(request)                     # Work(rows, encode, deadline)
reply = work.encode(outputs)                    # Reply(200, b"…")
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

from serving.errors import InvalidInput, Refusal
from serving.schema import Array

JSON = "application/json"
_MOST_PARAMETERS = 100


@dataclass(slots=True)
class Request:
    """A request whose body has been read whole, and inflated.

    header: looks a header up by its lower-case name. id: the client's, or one made here; in every reply and log line. held:
    bytes that it occupies here. arrived: `time.monotonic()` when its headers had been read. deadline: the same clock when the
    client stops waiting; None: no such time.
    """

    method: str
    path: str
    query: str
    header: Callable[[str], str | None]
    body: bytes
    id: str = ""
    held: int = 0
    arrived: float = 0.0
    deadline: float | None = None

    @property
    def content_type(self) -> str:
        """The Content-Type as sent, or nothing."""
        return self.header("content-type") or ""

    def parameters(self) -> dict[str, str]:
        """Return the query's parameters; raise InvalidInput for one that is there twice."""
        try:
            pairs = parse_qsl(self.query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
        except ValueError as error:
            raise InvalidInput(f"the query has more than {_MOST_PARAMETERS} parameters", field="query") from error
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InvalidInput("a parameter of the query is there twice", field="query")
        return found


@dataclass(slots=True)
class Reply:
    """A status, a body with its type, and further headers."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Work:
    """What a request asks of the model.

    rows: (batch, *schema.shape) float32, valid and finite where the schema asks for it. encode: turns (batch, outputs) into the
    reply; raises InvalidInput where an answer is not finite. timeout: seconds that the body itself allows, counted from when
    the request was read; None: it says nothing.
    """

    rows: Array
    encode: Callable[[Array], Reply]
    timeout: float | None = None


class Codec(Protocol):
    """One wire format for one model: made once for each model that is loaded, called for each request."""

    def parse(self, request: Request) -> Work:
        """Decode and validate a request, before anything is queued; raise Refusal."""


Dialect = Callable[[Refusal, Request], Reply]  # how a protocol says no
