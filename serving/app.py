"""The Flask application: every route of the service.

    app = create_app(Bundle(Path("bundle")))

It is a WSGI application that any server can run and `app.test_client()` can ask. `python -m serving` puts serving.gate in
front, which reads bodies without holding a thread and takes the models' own routes past Flask, through the same functions.
"""

import logging
import time
from collections.abc import Callable, Set
from http import HTTPStatus
from pathlib import Path

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from serving.admin import add_admin
from serving.bundle import Bundle
from serving.control import Order
from serving.encodings import inflated
from serving.endpoints import OTHER, dialect_of, vertex_routes
from serving.errors import Failed, NotFound, Refusal, TooLarge
from serving.exchange import Reply, Request
from serving.manners import Manners
from serving.page import add_page
from serving.service import Service
from serving.settings import Settings
from serving.views import View, Views

_MODELS = (
    "/predict",
    "/invocations",
    "/endpoints/<endpoint>/invocations",
    "/v1/models/<model>:predict",
    "/v2/models/<model>/infer",
    "/v2/models/<model>/versions/<version>/infer",
)
_WORDS = {
    HTTPStatus.NOT_FOUND: "nothing is at this path; GET /openapi.json lists what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path takes another method; the Allow header says which",
}
_OPEN = {"/", "/favicon.ico"}  # what a person needs to see to be able to bring a key
_log = logging.getLogger("slipway.serving")


def create_app(
    bundle: Bundle, settings: Settings | None = None, *, pointer: Path | None = None, order: Order | None = None
) -> Flask:
    """Build the service for a verified bundle; `app.extensions["slipway"]` is its Service.

    pointer: where the bundle to swap to is looked for; None: where this one lies. order: by which this bundle was chosen.
    """
    service = Service(bundle, settings or Settings(), order)
    app = Flask("serving", static_folder=None)
    # Werkzeug reads one byte more than the limit of ours, which words the refusal.
    app.config["MAX_CONTENT_LENGTH"] = service.settings.limits.body_bytes + 1
    app.extensions["slipway"] = service
    views = Views(service)
    _add_hooks(app, service, free=_OPEN | views.probes().keys())
    _add_models(app, service)
    _add_views(app, views)
    add_admin(app, service, pointer or bundle.folder)
    add_page(app, service.facts, service.examples)
    _add_errors(app)
    return app


def request_of() -> Request:
    """Return Flask's present request as one of ours."""
    if "request" not in g:
        given = request.environ.get("slipway.request")  # the gate has one already
        g.request = given or Request(
            request.method,
            request.path,
            request.query_string.decode("latin-1"),
            request.headers.get,
            b"",
            arrived=time.monotonic(),
        )
    found: Request = g.request
    return found


def response_of(reply: Reply) -> Response:
    """Return a reply of ours as Flask's."""
    response = Response(reply.body, status=reply.status, content_type=reply.content_type)
    if reply.status == HTTPStatus.NO_CONTENT:
        del response.headers["Content-Type"]  # RFC 9110, 8.3: of content, and there is none
    for name, value in reply.headers:
        response.headers[name] = value
    return response


def _add_models(app: Flask, service: Service) -> None:
    def ask(**names: str) -> Response:
        path = "/invocations" if request.path.startswith("/endpoints/") else request.path.rstrip("/")
        endpoint = service.routes.get(("POST", path))
        if endpoint is None:
            given = ", ".join(f"{what} {name[:100]!r}" for what, name in names.items())
            raise NotFound(f"no {given} here; GET /info describes the model that is served")
        asked = request_of()
        asked.body = _body(service.settings.limits.body_bytes)
        g.counted = True
        return response_of(service.answer(endpoint, asked))

    for rule in {*_MODELS, *vertex_routes()}:
        app.add_url_rule(rule, rule, ask, methods=["POST"], strict_slashes=False)


def _add_views(app: Flask, views: Views) -> None:
    def shown(view: View) -> Callable[..., Response]:
        return lambda **names: response_of(view(request_of(), **names))

    for rule, view in (views.probes() | views.described()).items():
        methods = ["GET", "POST"] if rule == "/v2/repository/index" else ["GET"]
        app.add_url_rule(rule, rule, shown(view), methods=methods, strict_slashes=False)


def _add_hooks(app: Flask, service: Service, *, free: Set[str]) -> None:
    """free: paths that need no key."""
    manners = Manners(service)

    @app.before_request
    def greet() -> Response | None:
        asked = request_of()
        manners.receive(asked)
        if request.method == "OPTIONS":
            return response_of(manners.preflight(asked))
        if request.path not in free and not request.path.startswith(("/static/", "/admin/")):
            service.check_key(asked)
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        asked = request_of()
        for name, value in manners.headers(asked):
            response.headers.setdefault(name, value)
        if "counted" not in g:
            service.note(OTHER, asked, response.status_code, g.get("reason", ""))
        return response


def _body(limit: int) -> bytes:
    body = request.get_data(cache=False)
    # Without a Content-Length (chunked), Werkzeug cuts the body at its limit in silence; ours lies one byte before.
    if len(body) > limit:
        raise _too_large(limit)
    return inflated(body, request.headers.get("Content-Encoding"), limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes; send fewer rows in a request")


def _add_errors(app: Flask) -> None:
    limit = int(app.config["MAX_CONTENT_LENGTH"]) - 1

    def refused(refusal: Refusal) -> Response:
        g.reason = refusal.code
        return response_of(dialect_of(request.path).refuse(refusal, request_of()))

    app.register_error_handler(Refusal, refused)

    app.register_error_handler(RequestEntityTooLarge, lambda _: refused(_too_large(limit)))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 500)
        refusal = Refusal(_WORDS.get(status, error.description or status.phrase))
        refusal.status, refusal.code = status, status.name.lower()
        response = refused(refusal)
        for name, value in error.get_headers():  # Allow on 405, Location on a redirect
            if name.lower() not in {"content-type", "content-length"}:
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        _log.exception("request failed", exc_info=error)
        return refused(Failed())
