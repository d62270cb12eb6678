"""The page for people at `/`: what the model takes as a form or a drawing pad, and what it answers.

    add_page(app, facts, example)

The page itself knows nothing of the model but its name: it asks `GET /info` for the schema, so that a service with keys shows
nothing to those who have none. Its files are read once; every one of them is revalidated by its ETag, and none needs a network.
"""

import gzip
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Response, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.exceptions import NotFound

from serving.facts import ModelFacts

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_ROWS = 24
_MOST_BYTES = 2 * 2**20  # of all examples as JSON: a drawing pad needs one, and a phone has to load it

# What a browser can fetch at once instead of finding it import by import.
_ALWAYS = ("page.js", "answer.js", "api.js", "card.js", "dom.js")
_INPUTS = {"table": ("form.js", "dates.js", "csv.js"), "drawing": ("draw.js",), "picture": ("upload.js",)}

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, but asked about each time: a new version of the service is a new page at once
}


def add_page(app: Flask, facts: Callable[[], ModelFacts | None], example: Callable[[], list[Any]]) -> None:
    """Add `GET /`, `/static/<file>` and `/example` to an application.

    facts: of the model that answers now; None while there is none. example: rows as a client sends them, such as those of the
    golden requests, and `bytes` for the files of pictures; called for each `/example`.
    """
    files = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir()) if path.suffix in _TYPES}
    environment = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("page.html")

    def page() -> Response:
        found = facts()
        model = found.description if found else None
        scripts = [*_ALWAYS, *_INPUTS[_input_of(found)]] if found else _ALWAYS
        return _reply(template.render(model=model, scripts=scripts).encode(), "text/html; charset=utf-8")

    def static(name: str) -> Response:
        if name not in files:
            raise NotFound("the page has no such file")
        return _reply(files[name], f"{_TYPES[Path(name).suffix]}; charset=utf-8")

    def examples() -> Response:
        return _reply(_examples(example()), "application/json")

    app.add_url_rule("/", "page", page, methods=["GET"])
    app.add_url_rule("/static/<name>", "page.static", static, methods=["GET"])
    app.add_url_rule("/example", "page.example", examples, methods=["GET"])


def _input_of(found: ModelFacts) -> str:
    if found.schema.kind == "table":
        return "table"
    return "picture" if found.schema.picture else "drawing"


def _reply(body: bytes, content_type: str) -> Response:
    response = Response(body, content_type=content_type, headers=_HEADERS)
    tag = hashlib.sha256(body).hexdigest()[:32]
    if request.accept_encodings["gzip"] > 0:
        response.set_data(_squeezed(body))
        response.headers["Content-Encoding"] = "gzip"
        tag += "-gzip"
    response.vary.add("Accept-Encoding")
    response.set_etag(tag)
    response.make_conditional(request)
    return response


@lru_cache(maxsize=32)
def _squeezed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _examples(found: list[Any]) -> bytes:
    """Return the JSON of as many examples as a page may hold: rows, and picture files in base64."""
    rows: list[msgspec.Raw] = []
    pictures: list[msgspec.Raw] = []
    left = _MOST_BYTES
    for item in found[:_MOST_ROWS]:
        encoded = msgspec.json.encode(item)
        left -= len(encoded)
        if left < 0:
            break
        (pictures if isinstance(item, bytes) else rows).append(msgspec.Raw(encoded))
    return msgspec.json.encode({"rows": rows, "pictures": pictures})
