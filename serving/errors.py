"""What can go wrong on the way from a folder to an answer.

ServingError
├── CorruptFile          a file's bytes are not the bytes whose digest was written down
├── BundleError          a bundle that is not whole, not ours, or does not chain
└── Refusal              a request that gets no answer; carries its HTTP status, and each protocol puts it in its own dialect
    ├── InvalidInput     400: the schema refuses it; carries the path of the offending field
    ├── Unauthorized     401: no key, or a wrong one
    ├── NotFound         404: no such path, model or version
    ├── TooLarge         413: more bytes, values or nesting than the service takes
    ├── UnsupportedMedia 415: a content type that the model does not take
    ├── NotReady         503: no model has passed its golden requests, or the service is about to stop
    ├── Overloaded       503: the queue is full; `retry_after` says for how long
    ├── DeadlineExceeded 504: the client's deadline passed before the answer was there
    ├── SlowClient       408: the client took too long to send its request
    └── Failed           500: our own fault; its cause is in the log and nowhere else
"""

from http import HTTPStatus
from pathlib import Path


class ServingError(Exception):
    """Base of every error that this package raises on purpose; the text is one line, fit for a user."""


class CorruptFile(ServingError):
    """Raised when a file's sha256 differs from the one recorded when it was written."""

    def __init__(self, path: Path, *, recorded: str, found: str) -> None:
        super().__init__(
            f"{path}: the file changed after it was written (sha256 recorded {recorded}, found {found}); "
            "restore it from a copy, or delete its folder and make it again"
        )
        self.path, self.recorded, self.found = path, recorded, found


class BundleError(ServingError):
    """Raised when a folder is not a bundle that this version can prove and serve."""


class Refusal(ServingError):
    """Raised when a request gets no answer.

    `code`: a word for programs, also the `reason` in metrics. `field`: the path of the offending value, such as `inputs[3][0]`
    or `records[2].age`; None: the whole request is at fault. `retry_after`: seconds after which a retry may pass.
    """

    status = HTTPStatus.BAD_REQUEST
    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after = retry_after


class InvalidInput(Refusal):
    """Raised when a request does not fit the schema."""


class Unauthorized(Refusal):
    """Raised when a key is asked for and the request has none, or a wrong one."""

    status, code = HTTPStatus.UNAUTHORIZED, "unauthorized"


class NotFound(Refusal):
    """Raised for a path, a model or a version that is not there."""

    status, code = HTTPStatus.NOT_FOUND, "not_found"


class TooLarge(Refusal):
    """Raised for a request of more bytes, values or nesting than the service takes."""

    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_entity_too_large"


class UnsupportedMedia(Refusal):
    """Raised for a content type that the model, or the protocol, does not take."""

    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"


class NotReady(Refusal):
    """Raised while no model has passed its golden requests."""

    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "not_ready"


class Overloaded(Refusal):
    """Raised when more waits than the service can answer in time."""

    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "overloaded"


class DeadlineExceeded(Refusal):
    """Raised when a request's deadline passed before its answer was there."""

    status, code = HTTPStatus.GATEWAY_TIMEOUT, "deadline_exceeded"


class SlowClient(Refusal):
    """Raised when a client takes too long to send its request."""

    status, code = HTTPStatus.REQUEST_TIMEOUT, "request_timeout"


class Failed(Refusal):
    """Raised in place of an error of our own, whose text a client must not see."""

    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_server_error"

    def __init__(self) -> None:
        super().__init__("the request failed here; see the service's log")


def without_folder(error: BaseException, *folders: Path) -> str:
    """Return an error's text for somebody who may not know where files lie."""
    text = str(error)
    for folder in (one for one in folders if one != Path()):
        text = text.replace(f"{folder}/", "").replace(str(folder), "the bundle")
    return text


def first_line(error: BaseException) -> str:
    """Return an error of somebody else's code in one line: its kind, and the first line of its text, short enough to read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
