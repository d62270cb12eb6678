"""What tests of hostile requests share: a service whose output is read, raw bytes to its port, and what no reply may hold."""

import contextlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.serving.server import LIMIT_S, Running, running

JSON = "application/json"
NAME = "tiny"  # of the model; tests.serving.conftest

# Where things lie, how the code is called, what Python prints: none of it is a client's business.
LEAK = re.compile(
    rb"Traceback|File \"|site-packages|\.pyc?\b|\bserving\.|\bpipeline\.|msgspec|werkzeug|granian|onnxruntime|object at 0x"
    rb"|\w+(?:Error|Exception)\b|/(?:tmp|var|usr|opt|home|root|work|proc|etc|mnt)/"
)


class Raw(NamedTuple):
    """A reply as it came. status 0: the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@contextlib.contextmanager
def watched(bundle: Path, *options: str, **variables: str) -> Iterator[Running]:
    """Start a service and wait until all of it is ready; what it prints is read, so that it never waits for a reader."""
    with running(bundle, *options, port=None, **variables) as service:
        service.wait_for_all_workers()
        assert service.process.stdout is not None
        number = service.process.stdout.fileno()

        def drain() -> None:
            with contextlib.suppress(OSError):  # closed with the process
                while os.read(number, 65536):
                    pass

        threading.Thread(target=drain, daemon=True).start()
        yield service


def head_of(path: str, length: int | None, headers: Mapping[str, str | bytes] | None = None, method: str = "POST") -> bytes:
    """The first lines of a request, as bytes that no client library would send. length: None for no Content-Length."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"host: here"]
    if length is not None:
        lines.append(b"content-length: %d" % length)
    for name, value in (headers or {}).items():
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def ask(
    service: Running, path: str, body: bytes, headers: Mapping[str, str | bytes] | None = None, method: str = "POST"
) -> Raw:
    """Send one request on a connection of its own."""
    return exchange(service, head_of(path, len(body), {"content-type": JSON} if headers is None else headers, method) + body)


def exchange(service: Running, payload: bytes) -> Raw:
    """Send bytes and read one reply; a server that closes early may be in the middle of them."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=LIMIT_S) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(payload)
        return _reply_on(connection)


def _reply_on(connection: socket.socket) -> Raw:
    head, body, length = b"", bytearray(), None
    with contextlib.suppress(ConnectionError):
        while (length is None or len(body) < length) and (part := connection.recv(2**20)):
            body += part
            while length is None and (end := body.find(b"\r\n\r\n")) >= 0:
                head, body = bytes(body[:end]), body[end + 4 :]
                if not head.startswith(b"HTTP/1.1 100"):  # go on sending; what follows is the reply
                    found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                    length = int(found[1]) if found else sys.maxsize
    if not head:
        return Raw(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return Raw(int(first.split(" ")[1]), headers, bytes(body))


def strictly(body: bytes) -> Any:
    """Parse JSON to the letter: UTF-8, no NaN, no key twice, no lone surrogate."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a key is there twice"
        return dict(pairs)

    found = json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=once)
    json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate fails here
    return found


def refusal_of(path: str, reply: Raw) -> tuple[str, str | None]:
    """Return (message, field) of a refusal, which must be in the dialect of its path and hold nothing internal."""
    assert reply.status >= 400, (path, reply)
    assert not LEAK.search(reply.body), (path, reply)
    if reply.headers.get("content-type", "").startswith("text/plain"):  # MLflow's 415
        assert path.startswith(("/invocations", "/endpoints/")), (path, reply)
        assert reply.status == 415
        return reply.body.decode(), None
    assert reply.headers["content-type"] == JSON, (path, reply)
    found = strictly(reply.body)
    if path.startswith(("/invocations", "/endpoints/")):
        assert set(found) == {"error_code", "message"}, (path, found)
        message = found["message"]
    elif path.startswith(("/v1", "/v2")):
        assert set(found) == {"error"}, (path, found)
        message = found["error"]
    else:
        assert set(found) == {"error"}, (path, found)
        assert {"code", "message"} <= set(found["error"]) <= {"code", "message", "field"}, (path, found)
        return str(found["error"]["message"]), found["error"].get("field")
    assert isinstance(message, str)
    assert 0 < len(message) < 600, (path, message)
    field, found_field, _ = message.partition(": ")
    return message, field if found_field else None
