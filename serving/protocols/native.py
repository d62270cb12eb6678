"""Slipway's own protocol: `POST /predict`.

    {"inputs": [row, …]}                      rows as arrays, in the schema's shape
    {"records": [{"feature": value, …}, …]}   rows by feature name, tables only
    text/csv, application/x-npy               the same as files (serving.protocols.tables, .arrays)
    image/*, multipart/form-data              pictures, for models of images (serving.protocols.pictures)

      -> {"predictions": [row's answer, …], "model": {"name", "version", "digest"}}
      -> {"error": {"code", "message", "field"}}

Anything else than the types above is read as JSON, so that a plain `curl -d` works. `?top_k=3` leaves the three most likely
classes in `probabilities`, the first of them first.
"""

from collections.abc import Callable
from functools import partial
from heapq import nlargest
from operator import itemgetter

import msgspec

from serving.answers import answers
from serving.errors import InvalidInput, Refusal, TooLarge, Unauthorized, UnsupportedMedia
from serving.exchange import JSON, Reply, Request, Work
from serving.facts import ModelFacts
from serving.protocols import arrays, pictures, strict_json, tables
from serving.protocols.json_rows import Decoder
from serving.protocols.ranges import refuse_outside
from serving.protocols.rows import place
from serving.protocols.words import utf8
from serving.schema import Array

__all__ = ["Codec", "Decoder", "refuse"]

CSV, NPY = "text/csv", "application/x-npy"

_TOP_K = "top_k"
_LONGEST = 100  # characters of a client's own words that an answer repeats
_ENCODINGS = {"", "utf-8", "utf8", "us-ascii", "ascii"}

Read = Callable[[bytes, str], tuple[Array, str]]  # body, Content-Type -> rows, the first part of their values' paths


class Codec:
    """Decodes what `POST /predict` takes for one model, and encodes its answers."""

    def __init__(self, model: ModelFacts) -> None:
        """Build the types of a body; raise BundleError for feature names that cannot be keys."""
        self._model, self._schema = model, model.schema
        self._decoder = Decoder(model.schema, limits=model.limits, encoder=model.encoder)
        self._identity = msgspec.Raw(msgspec.json.encode(model.identity))
        self._readers: dict[str, Read] = {JSON: self._read_json, CSV: self._read_csv, NPY: self._read_npy}

    def parse(self, request: Request) -> Work:
        """Decode and check a request; raises InvalidInput, TooLarge or UnsupportedMedia."""
        top = self._top(request) if request.query else None
        content_type = request.content_type
        read = self._readers.get(content_type) or self._reader(content_type)
        try:
            rows, field = read(request.body, content_type)
            if self._model.limits.strict:
                refuse_outside(rows, self._schema, partial(place, self._schema, field))
        except RecursionError:
            raise strict_json.too_deep(self._model.limits) from None
        except MemoryError:
            raise TooLarge("the request needs more memory than there is; send fewer rows in a request") from None
        return Work(rows, self._encode if top is None else partial(self._encode, top=top))

    def _reader(self, content_type: str) -> Read:
        """Return what reads a Content-Type with parameters, in capitals, or of no kind that is known."""
        if pictures.is_upload(content_type):
            return self._read_pictures
        media_type, _, options = content_type.partition(";")
        read = self._readers.get(media_type.strip().lower(), self._read_json)
        for option in options.split(";") if read == self._read_csv else ():
            name, _, value = option.partition("=")
            if name.strip().lower() == "charset" and value.strip(" \"'").lower() not in _ENCODINGS:
                raise UnsupportedMedia(f"CSV is read as UTF-8, not as {value.strip()[:_LONGEST]}; send it in UTF-8")
        return read

    def _read_json(self, body: bytes, content_type: str) -> tuple[Array, str]:
        pictures.refuse_untyped(body, content_type, self._schema)
        if body.startswith(arrays.MAGIC):
            raise InvalidInput(f"the body is an .npy file; send it with the Content-Type {NPY}")
        return self._decoder.read(body)

    def _read_csv(self, body: bytes, _: str) -> tuple[Array, str]:
        return tables.rows_of_csv(body, self._model), tables.FIELD

    def _read_npy(self, body: bytes, _: str) -> tuple[Array, str]:
        return arrays.rows_of_npy(body, self._model), arrays.FIELD

    def _read_pictures(self, body: bytes, content_type: str) -> tuple[Array, str]:
        return pictures.rows_of(body, content_type, self._schema, self._model.limits), pictures.FIELD

    def _top(self, request: Request) -> int | None:
        """Return how many classes are wanted; None: all."""
        wanted = request.parameters()
        text = wanted.pop(_TOP_K, None)
        for name in wanted:
            raise InvalidInput(f"unknown parameter; there is `{_TOP_K}`", field=name[:_LONGEST] or None)
        if text is None:
            return None
        if self._schema.task != "classification":
            raise InvalidInput(f"only classes are ranked, and this model's task is {self._schema.task}", field=_TOP_K)
        most = len(self._schema.classes)
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
            raise InvalidInput(f"expected a whole number from 1 to {most}, got {text[:_LONGEST]!r}", field=_TOP_K)
        return int(text)

    def _encode(self, outputs: Array, *, top: int | None = None) -> Reply:
        predictions = answers(outputs, self._schema)
        if top is not None:
            for prediction in predictions:
                prediction["probabilities"] = dict(nlargest(top, prediction["probabilities"].items(), key=itemgetter(1)))
        return Reply(200, msgspec.json.encode({"predictions": predictions, "model": self._identity}))


def refuse(refusal: Refusal, request: Request) -> Reply:  # noqa: ARG001  # a dialect's signature
    """Put a refusal as {"error": {"code", "message", "field"}}; `field` is there where the place is known."""
    error = {"code": refusal.code, "message": utf8(str(refusal))}
    if refusal.field:
        error["field"] = utf8(refusal.field)
    headers = [] if refusal.retry_after is None else [("Retry-After", str(refusal.retry_after))]
    if isinstance(refusal, Unauthorized):
        headers.append(("WWW-Authenticate", "Bearer"))
    return Reply(int(refusal.status), msgspec.json.encode({"error": error}), headers=headers)
