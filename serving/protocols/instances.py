"""The protocol of TensorFlow Serving and Vertex AI: `POST /v1/models/<name>:predict`, and Vertex's own route to the same.

    {"instances": [[1, 2], [3, 4]]}                                    rows as arrays
    {"instances": [{"a": 1, "b": 2}]}                                  rows by feature name
    {"instances": [1, 3]}                                              bare values, for a model of one feature
      -> {"predictions": [row's answer, …], "model": {…}}
    {"inputs": [[1, 2], [3, 4]]} or {"inputs": {"a": [1, 3], "b": [2, 4]}}
      -> {"outputs": [row's answer, …], "model": {…}}                  TensorFlow Serving's column format has its own key

Beside them may stand `parameters` (Vertex; must be empty, as no model here takes any) and `signature_name` (TensorFlow Serving;
there is one, `serving_default`). Each row's answer is what `/invocations` gives for it. Errors are {"error": "…"}.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from serving.errors import InvalidInput, Refusal, UnsupportedMedia
from serving.exchange import Reply, Request, Work
from serving.facts import ModelFacts
from serving.protocols import strict_json
from serving.protocols.forms import Forms, kind_of
from serving.protocols.mlflow_scoring import headers_of, predictions
from serving.protocols.rows import check_lists
from serving.protocols.words import said, shown
from serving.schema import Array

SIGNATURE = "serving_default"

_KEYS = {"instances", "inputs", "parameters", "signature_name"}
_USAGE = 'send {"instances": [row, …]} or {"inputs": {"feature": [value, …], …}}'
# TensorFlow Serving reads no Content-Type, and its own examples are sent by curl, which then names a form.
_TYPES = {"", "application/json", "application/x-www-form-urlencoded"}


class Codec:
    """Decodes `instances` and `inputs` for one model."""

    def __init__(self, model: ModelFacts) -> None:
        """Build the forms of its rows."""
        self._model = model
        self._forms = Forms(model)

    def parse(self, request: Request) -> Work:
        """Decode a body of JSON; raises UnsupportedMedia, InvalidInput or TooLarge."""
        media_type = request.content_type.partition(";")[0].strip().lower()
        if media_type not in _TYPES:
            raise UnsupportedMedia(f"this path takes application/json, not {shown(request.content_type)}; {_USAGE}")
        check_lists(request.body, self._model.schema, self._model.limits)
        parsed = strict_json.decode(request.body, self._model.limits, usage=_USAGE)
        if not isinstance(parsed, dict):
            raise InvalidInput(f"the body must be an object, got {kind_of(parsed)}; {_USAGE}")
        if unknown := parsed.keys() - _KEYS:
            raise InvalidInput(f"unknown key; {_USAGE}", field=min(unknown)[:100])
        if ("instances" in parsed) == ("inputs" in parsed):
            raise InvalidInput(f"the body must hold exactly one of `instances` and `inputs`; {_USAGE}")
        _refuse_options(parsed)
        if "instances" in parsed:
            return Work(self._forms.rows(parsed["instances"], "instances"), self._encoded_as("predictions"))
        inputs = parsed["inputs"]
        rows = self._forms.columns(inputs, "inputs") if isinstance(inputs, dict) else self._forms.rows(inputs, "inputs")
        return Work(rows, self._encoded_as("outputs"))

    def _encoded_as(self, key: str) -> Callable[[Array], Reply]:
        def encode(outputs: Array) -> Reply:
            found = predictions(outputs, self._model.schema)
            return Reply(200, msgspec.json.encode({key: found, "model": self._model.identity}))

        return encode


def refuse(refusal: Refusal, request: Request) -> Reply:  # noqa: ARG001  # a dialect's signature
    """Put a refusal as TensorFlow Serving does: {"error": "…"}."""
    return Reply(refusal.status, msgspec.json.encode({"error": said(refusal)}), headers=headers_of(refusal))


def status(model: ModelFacts, ready: bool) -> Reply:
    """Answer `GET /v1/models/<name>`: the state of its one version."""
    state = {
        "version": model.description.version,
        "state": "AVAILABLE" if ready else "LOADING",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return Reply(200, msgspec.json.encode({"model_version_status": [state]}))


def _refuse_options(parsed: dict[str, Any]) -> None:
    if (parameters := parsed.get("parameters")) not in (None, {}):
        raise InvalidInput(
            f"must be an empty object or absent, as this model takes no parameters, got {kind_of(parameters)}",
            field="parameters",
        )
    name = parsed.get("signature_name")
    if name not in (None, "", SIGNATURE):  # a tuple: what a client sends need not be hashable
        seen = shown(name) if isinstance(name, str) else kind_of(name)
        raise InvalidInput(f"the model has one signature, {SIGNATURE}, got {seen}", field="signature_name")
