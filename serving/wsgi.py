"""Ask a WSGI application on behalf of an asynchronous server that has read the whole request."""

import io
from collections.abc import Callable, Iterable
from typing import Any

from serving.exchange import Reply, Request

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def reply_of(application: Application, request: Request, body: bytes, scope: Any) -> Reply:
    """Return the application's reply. scope: granian's, for what a Request does not have."""
    reply = Reply(500, b"", "")

    def start(status: str, headers: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
        reply.status = int(status.split(" ", 1)[0])
        for name, value in headers:
            if name.lower() == "content-type":
                reply.content_type = value
            elif name.lower() != "content-length" or request.method == "HEAD":  # of GET's body, which is not here to be counted
                reply.headers.append((name, value))
        return lambda _: None

    parts: Iterable[bytes] = application(_environ(request, body, scope), start)
    try:
        reply.body = b"".join(parts)
    finally:
        getattr(parts, "close", lambda: None)()
    return reply


def _environ(request: Request, body: bytes, scope: Any) -> dict[str, Any]:
    """Return what PEP 3333 asks for."""
    host, _, port = (scope.server or "").rpartition(":")
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode(errors="replace").decode("latin-1"),  # granian has decoded it already
        "QUERY_STRING": request.query,
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": (scope.client or "").rpartition(":")[0],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "slipway.request": request,
    }
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        if key not in {"CONTENT_LENGTH", "TRANSFER_ENCODING"}:
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return environ
