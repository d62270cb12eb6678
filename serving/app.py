"""The WSGI application.

    app = create_app(Bundle(Path("bundle")))

Routes: `POST /predict`, `GET /healthz` (the process lives), `/readyz` (golden requests passed), `/info`, `/metrics`, `/`.
Every answer but `/metrics` is JSON; every error is {"error": {"code", "message", "field"}} and carries nothing internal.
"""

import logging
import time
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from serving.answers import answers
from serving.bundle import Bundle
from serving.errors import InvalidInput, ServingError
from serving.predictor import Predictor
from serving.protocols import native, pictures
from serving.telemetry import CONTENT_TYPE, Telemetry

_JSON = "application/json"
_log = logging.getLogger("slipway.serving")


class Service:
    """A bundle made ready to answer: the predictor, and why it is not ready when it is not."""

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        """Load the artifact and replay the golden requests; a failure keeps the service alive, unready, with its reason."""
        description = bundle.description
        self.description = description
        self.identity = {"name": description.name, "version": description.version, "digest": bundle.digest}
        self.telemetry = Telemetry(self.identity)
        self.unready: str | None = None
        try:
            self.decoder = native.Decoder(description.schema)
            self.predictor = Predictor.from_bundle(bundle, threads=threads)
            self.predictor.check(bundle.golden())
        except ServingError as error:
            self.unready = str(error)
            _log.error("not ready: %s", error)
        self.telemetry.ready.set(self.unready is None)

    def predict(self, body: bytes, content_type: str) -> bytes:
        """Answer one request in Slipway's own JSON; pictures are known by their content type, anything else is read as JSON."""
        if pictures.is_upload(content_type):
            inputs = pictures.rows_of(body, content_type, self.description.schema)
        else:
            pictures.refuse_untyped(body, content_type, self.description.schema)
            inputs = self.decoder.decode(body)
        predictions = answers(self.predictor.predict(inputs), self.description.schema)
        self.telemetry.rows.inc(len(inputs))
        return native.encode(predictions, self.identity)


def create_app(bundle: Bundle, *, threads: int = 1, max_body_bytes: int = 16 * 2**20) -> Flask:
    """Build the service for a verified bundle.

    threads: threads inside one call of the model. max_body_bytes: larger requests get 413.
    """
    app = Flask("slipway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    service = Service(bundle, threads=threads)
    _add_routes(app, service)
    _add_telemetry(app, service.telemetry)
    _add_errors(app)
    return app


def _add_routes(app: Flask, service: Service) -> None:
    @app.post("/predict")
    def predict() -> Response:
        if service.unready is not None:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", "the model is not ready; GET /readyz says why")
        return Response(service.predict(_body(), request.environ.get("CONTENT_TYPE", "")), mimetype=_JSON)

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        if service.unready is None:
            return _json({"status": "ready", "model": service.identity})
        return _json({"status": "not ready", "reason": service.unready}, status=HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/info")
    def info() -> Response:
        shown = msgspec.to_builtins(service.description)
        return _json({"model": service.identity, "ready": service.unready is None, **shown})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(service.telemetry.text(), content_type=CONTENT_TYPE)

    @app.get("/")
    def index() -> Response:
        return _json({"model": service.identity, "routes": sorted({rule.rule for rule in app.url_map.iter_rules()})})


def _add_telemetry(app: Flask, telemetry: Telemetry) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # Unknown paths share one label: a scanner must not be able to create a series for each path it tries.
        route = request.url_rule.rule if request.url_rule else "unknown"
        telemetry.requests.labels(route, response.status_code).inc()
        telemetry.seconds.labels(route).observe(time.perf_counter() - g.started)
        return response


def _body() -> bytes:
    body = request.get_data(cache=False)
    # Without a Content-Length (chunked), Werkzeug cuts the body at the limit in silence: is there more behind it?
    if request.content_length is None and len(body) == request.max_content_length and request.environ["wsgi.input"].read(1):
        raise RequestEntityTooLarge
    return body


def _add_errors(app: Flask) -> None:
    @app.errorhandler(InvalidInput)
    def invalid(error: InvalidInput) -> Response:
        return _error(HTTPStatus.BAD_REQUEST, "invalid_input", str(error), field=error.field)

    @app.errorhandler(pictures.NoPictures)
    def no_pictures(error: pictures.NoPictures) -> Response:
        return _error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", str(error))

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> Response:
        error.description = f"the body is larger than {request.max_content_length} bytes; send fewer rows in a request"
        return refused(error)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 500)
        response = _error(status, status.name.lower(), error.description or status.phrase)
        for name, value in error.get_headers():  # Allow on 405, Location on a redirect
            if name.lower() not in {"content-type", "content-length"}:
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        _log.exception("request failed", exc_info=error)
        return _error(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal_server_error", "the request failed here; see the service's log"
        )


def _error(status: HTTPStatus, code: str, message: str, *, field: str | None = None) -> Response:
    body = {"code": code, "message": message} | ({"field": field} if field else {})
    return _json({"error": body}, status=status)


def _json(body: dict[str, Any], *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(body), status=status, mimetype=_JSON)
