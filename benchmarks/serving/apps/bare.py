"""The limit: a callable that parses, runs the model and answers, without framework, checks, metrics or log; for granian.

POST /predict takes {"inputs": rows} as JSON, every other path raw float32 rows; both answer in kind.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from benchmarks.serving.apps.session import load

_run = load()
_ROW = (8, 8)
_TYPES = {True: "application/json", False: "application/octet-stream"}


def answer(path: str, body: bytes) -> bytes:
    """Return the answer to a body."""
    if path == "/predict":
        outputs = _run(np.asarray(msgspec.json.decode(body)["inputs"], dtype=np.float32))
        return msgspec.json.encode({"outputs": outputs.tolist()})
    rows = np.frombuffer(body, dtype=np.float32)
    raw: bytes = _run(rows.reshape(rows.size // math.prod(_ROW), *_ROW)).tobytes()
    return raw


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer through WSGI."""
    body = answer(environ["PATH_INFO"], environ["wsgi.input"].read())
    start_response("200 OK", [("content-type", _TYPES[environ["PATH_INFO"] == "/predict"])])
    return [body]


async def rsgi(scope: Any, protocol: Any) -> None:
    """Answer through granian's own RSGI."""
    body = answer(scope.path, await protocol())
    protocol.response_bytes(200, [("content-type", _TYPES[scope.path == "/predict"])], body)
