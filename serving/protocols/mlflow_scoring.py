"""MLflow's scoring protocol: `POST /invocations`, `/endpoints/<name>/invocations`, `GET /ping`, `/health` and `/version`.

    {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]], "index": [0]}}     as pandas' to_dict(orient="split")
    {"dataframe_records": [{"a": 1, "b": 2}]}
    {"instances": [[1, 2]]} or {"instances": [{"a": 1, "b": 2}]}
    {"inputs": [[1, 2]]} or {"inputs": {"a": [1], "b": [2]}}
    text/csv with a header row
    application/vnd.sagemaker-triton.binary+json;json-header-size=N    tensors, as serving.protocols.open_inference has them

Exactly one of the four keys; `params` may stand beside it but must be empty, as no model here takes any; further keys are
dropped, as MLflow does. The answer has one entry for each row, so that it can be joined to the rows:

    {"predictions": [{"label": "3", "score": 0.98, "probabilities": {…}}, …], "model": {…}}      classification
    {"predictions": [{"labels": [], "probabilities": {…}}, …], "model": {…}}                     several labels
    {"predictions": [152.3, …], "model": {…}}                                                    regression
    {"predictions": [{"length": 1.5, "width": 2.5}, …], "model": {…}}                            regression of several targets

MLflow's clients write a DataFrame's missing values as NaN, which is no JSON. For a model with columns that may be missing it is
read as null; everywhere else it is refused.
"""

import re
from functools import partial
from typing import Any

import msgspec
from werkzeug.http import parse_options_header

from serving.answers import answers, refuse_not_finite
from serving.errors import InvalidInput, Refusal, Unauthorized, UnsupportedMedia
from serving.exchange import Reply, Request, Work
from serving.facts import ModelFacts
from serving.protocols import open_inference, strict_json, tables
from serving.protocols.forms import Forms, kind_of
from serving.protocols.ranges import refuse_outside
from serving.protocols.rows import check_lists, place
from serving.protocols.words import said, shown
from serving.schema import Array, Schema

VERSION = "3.17.2"  # of MLflow, whose protocol this is
TEXT = "text/plain; charset=utf-8"
_TENSORS = "application/vnd.sagemaker-triton.binary+json"  # how SageMaker's clients of Triton send tensors to this path

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_SPLIT = {"columns", "data", "index"}
_USAGE = "send exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`"
# A text, passed over, or a NaN. (Possessive quantifiers would be as fast, and match wrongly in Python 3.11.2.)
_TEXT_OR_NAN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|NaN', re.DOTALL)

# The names that MLflow gives to statuses (mlflow.exceptions); 413 and 415 have none there.
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "BAD_REQUEST",
    408: "DEADLINE_EXCEEDED",
    413: "BAD_REQUEST",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Codec:
    """Decodes what MLflow's clients send for one model."""

    def __init__(self, model: ModelFacts) -> None:
        """Build the forms of its rows."""
        self._model = model
        self._forms, self._tensors = Forms(model), open_inference.Codec(model)
        self._has_missing = any(feature.nullable for feature in model.schema.features)

    def parse(self, request: Request) -> Work:
        """Decode a body by its Content-Type; none is JSON. Raises UnsupportedMedia, InvalidInput or TooLarge."""
        if request.content_type[: len(_TENSORS)].lower() == _TENSORS:
            return self._tensors.parse(request)
        media_type = _media_type_of(request.content_type)
        if media_type == "text/csv":
            rows = self._csv(request.body)
        elif media_type in {"", "application/json"}:
            rows = self._rows(request.body)
        else:
            raise UnsupportedMedia(
                f"this path takes application/json and text/csv, not {shown(request.content_type)}; send one of them, "
                "as in curl -H 'Content-Type: application/json'"
            )
        return Work(rows, self._encode)

    def _csv(self, body: bytes) -> Array:
        rows = tables.rows_of_csv(body, self._model)
        if self._model.limits.strict:
            refuse_outside(rows, self._model.schema, partial(place, self._model.schema, tables.FIELD))
        return rows

    def _rows(self, body: bytes) -> Array:
        if self._has_missing and b"NaN" in body:
            body = _without_nan(body)
        check_lists(body, self._model.schema, self._model.limits)
        parsed = strict_json.decode(body, self._model.limits, usage=_USAGE)
        if not isinstance(parsed, dict):
            raise InvalidInput(f"the body must be an object, got {kind_of(parsed)}; {_USAGE}")
        forms = [key for key in _FORMS if key in parsed]
        if len(forms) != 1:
            raise InvalidInput(f"got {' and '.join(f'`{key}`' for key in forms) or 'none'} of the forms; {_USAGE}")
        if (params := parsed.get("params")) not in (None, {}):
            raise InvalidInput(
                f"must be an empty object or absent, as this model takes no parameters, got {kind_of(params)}",
                field="params",
            )
        key, value = forms[0], parsed[forms[0]]
        match key:
            case "dataframe_split":
                return self._split(value)
            case "dataframe_records":
                return self._forms.records(value, key)
            case "inputs" if isinstance(value, dict):
                return self._forms.columns(value, key)
        return self._forms.rows(value, key)

    def _split(self, value: Any) -> Array:
        path = "dataframe_split"
        self._forms.refuse_images(path)
        if not isinstance(value, dict):
            raise InvalidInput(f"expected an object with `columns` and `data`, got {kind_of(value)}", field=path)
        if unknown := value.keys() - _SPLIT:
            raise InvalidInput("unknown key; send `columns`, `data` and `index`", field=f"{path}.{min(unknown)[:100]}")
        if "data" not in value:
            raise InvalidInput("required, but missing", field=f"{path}.data")
        data, index = value["data"], value.get("index")
        if index is not None and not (isinstance(index, list) and isinstance(data, list) and len(index) == len(data)):
            raise InvalidInput("expected a list with a label for each row of `data`, or no index", field=f"{path}.index")
        names = self._names(value.get("columns"))
        return self._forms.rows(data, f"{path}.data") if names is None else self._forms.split(names, data, path)

    def _names(self, columns: Any) -> list[str] | None:
        """Return the names of the columns; None: they have none, as in a DataFrame made of an array, and stand in order."""
        if columns is None:
            return None
        if not isinstance(columns, list):
            raise InvalidInput(f"expected a list of names, got {kind_of(columns)}", field="dataframe_split.columns")
        features = self._model.schema.features
        if columns == list(range(len(features))) and not any(feature.name.isdecimal() for feature in features):
            return None
        for index, name in enumerate(columns):
            if type(name) not in {str, int}:
                raise InvalidInput(f"expected a name, got {kind_of(name)}", field=f"dataframe_split.columns[{index}]")
        return [str(name) for name in columns]

    def _encode(self, outputs: Array) -> Reply:
        found = predictions(outputs, self._model.schema)
        return Reply(200, msgspec.json.encode({"predictions": found, "model": self._model.identity}))


def predictions(outputs: Array, schema: Schema) -> list[Any]:
    """Turn (batch, outputs) into an entry for each row: a record, or a bare number for a regression of one target.

    Raises InvalidInput when an answer is not finite.
    """
    if schema.task != "regression":
        return answers(outputs, schema)
    refuse_not_finite(outputs)
    if not schema.targets:
        return [value for (value,) in outputs.tolist()]
    return [dict(zip(schema.targets, row, strict=True)) for row in outputs.tolist()]


def refuse(refusal: Refusal, request: Request) -> Reply:  # noqa: ARG001  # a dialect's signature
    """Put a refusal as MLflow does: {"error_code", "message"}; an unknown content type gets plain text."""
    message, headers = said(refusal), headers_of(refusal)
    if refusal.status == UnsupportedMedia.status:
        return Reply(refusal.status, message.encode(), TEXT, headers)
    code = _CODES.get(refusal.status, "INTERNAL_ERROR" if refusal.status >= 500 else "BAD_REQUEST")
    return Reply(refusal.status, msgspec.json.encode({"error_code": code, "message": message}), headers=headers)


def headers_of(refusal: Refusal) -> list[tuple[str, str]]:
    """Return the headers that go with a refusal: when to come again, and that a key is asked for."""
    headers = [] if refusal.retry_after is None else [("Retry-After", str(refusal.retry_after))]
    return [*headers, ("WWW-Authenticate", "Bearer")] if isinstance(refusal, Unauthorized) else headers


def ping(ready: bool) -> Reply:
    """Answer `/ping` and `/health`: an empty line, with 200 when the model answers and 503 when it does not."""
    return Reply(200 if ready else 503, b"\n")


def version() -> Reply:
    """Answer `/version`: the version of MLflow whose protocol is spoken here, bare, and under the type that MLflow gives it."""
    return Reply(200, VERSION.encode())


def _without_nan(body: bytes) -> bytes:
    """Return JSON with null where NaN stood outside of texts."""
    return _TEXT_OR_NAN.sub(lambda found: b"null" if found[0] == b"NaN" else found[0], body)


def _media_type_of(content_type: str) -> str:
    """Return the media type in small letters; raise UnsupportedMedia for a charset or a parameter that MLflow refuses."""
    if content_type == "application/json":  # what nearly every client sends
        return content_type
    media_type, options = parse_options_header(content_type)
    charset = options.pop("charset", "utf-8")
    if charset.lower() != "utf-8":
        raise UnsupportedMedia(f"the charset must be utf-8, got {shown(charset)}; send the body in UTF-8")
    if options:
        raise UnsupportedMedia(f"unknown parameter {shown(min(options))} of the Content-Type; charset is the only one")
    return media_type.strip().lower()
