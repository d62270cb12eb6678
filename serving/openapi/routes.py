"""Every route: what it takes, what it answers, and how it says no."""

from typing import Any
from urllib.parse import quote

from serving.facts import ModelFacts
from serving.openapi.bodies import Examples, ref

TAGS = [
    {"name": "model", "description": "Ask the model, in four protocols."},
    {"name": "state", "description": "Whether it answers, and what it is."},
]
HEADERS: dict[str, Any] = {
    "RequestId": {"description": "The request's id, as sent or made here.", "schema": {"type": "string"}},
    "RetryAfter": {"description": "Seconds after which a retry may pass.", "schema": {"type": "integer", "minimum": 1}},
    "ModelVersion": {"description": "Version of the model that answered.", "schema": {"type": "string"}},
    "ModelDigest": {"description": "sha256 of the model that answered.", "schema": {"type": "string"}},
}
PARAMETERS: dict[str, Any] = {
    "Timeout": {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds after which the client no longer waits.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 86_400_000},
    },
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id of the client's own: 1 to 128 visible ASCII characters. Another one is made where it is none.",
        "schema": {"type": "string"},
    },
}

_REASONS = {
    "400": "The request does not fit; the message names the place.",
    "401": "A key is asked for.",
    "404": "There is no such path, model or version.",
    "405": "The path is there, but not for this method.",
    "408": "The client took too long to send its request.",
    "413": "More bytes or values than one request may hold.",
    "415": "A content type, charset or encoding that is not taken here.",
    "500": "The service failed; its log says why.",
    "503": "No model answers, or more waits than can be answered in time.",
    "504": "The deadline passed before the answer was there.",
}
_OF_MODEL = [*_REASONS]
_OF_VIEW = ["400", "401", "404", "405", "500", "503"]  # 400: X-Request-Timeout-Ms
_OPEN = {"/healthz", "/readyz", "/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready"}  # no key is asked for

_JSON, _TEXT = "application/json", "text/plain"
_ANY = {"type": "object"}


def paths(facts: ModelFacts, examples: Examples, *, keyed: bool) -> dict[str, Any]:
    """Return the description of each path."""
    found = _models(facts, examples) | _views(facts) | _of_v2(facts)
    for path, item in found.items():
        for method, operation in item.items():
            operation["operationId"] = f"{method}_{path}".replace("{", "").replace("}", "").replace("/", "_").replace(":", "_")
            operation.setdefault("parameters", []).extend({"$ref": f"#/components/parameters/{name}"} for name in PARAMETERS)
            if keyed and path not in _OPEN:
                operation["security"] = [{"bearer": []}, {"key": []}]
            else:
                operation["responses"].pop("401", None)
    return found


def _operation(tag: str, summary: str, answers: dict[str, Any], refused: list[str], error: str) -> dict[str, Any]:
    """Return an operation without its request. error: the schema of what it says no with."""
    responses = {status: _refusal(status, error) for status in refused} | answers
    return {"tags": [tag], "summary": summary, "responses": responses}


def _refusal(status: str, error: str) -> dict[str, Any]:
    content = (
        {_TEXT: {"schema": {"type": "string"}}}
        if (error, status) == ("MlflowError", "415")
        else {_JSON: {"schema": ref(error)}}
    )
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status == "503":
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {"description": _REASONS[status], "content": content, "headers": headers}


def _answer(description: str, content: dict[str, Any], *, of_model: bool = False) -> dict[str, Any]:
    names = {"X-Request-Id": "RequestId"} | (
        {"X-Model-Version": "ModelVersion", "X-Model-Digest": "ModelDigest"} if of_model else {}
    )
    headers = {name: {"$ref": f"#/components/headers/{header}"} for name, header in names.items()}
    return {"description": description, "content": content, "headers": headers}


def _ask(summary: str, content: dict[str, Any], answer: dict[str, Any], error: str) -> dict[str, Any]:
    """Return a POST that asks the model."""
    answers = {"200": _answer("An answer for each row.", answer, of_model=True)}
    operation = _operation("model", summary, answers, _OF_MODEL, error)
    return operation | {"requestBody": {"required": True, "content": content}}


def _body(schema: str, examples: dict[str, Any]) -> dict[str, Any]:
    return {"schema": ref(schema)} | ({"examples": examples} if examples else {})


def _models(facts: ModelFacts, examples: Examples) -> dict[str, Any]:
    """Return the routes on which a model answers."""
    schema, name, version = facts.schema, _part(facts.description.name), _part(facts.description.version)
    text_csv = {"schema": {"type": "string"}} | ({"examples": examples.csv()} if examples.csv() else {})
    predict: dict[str, Any] = {_JSON: _body("PredictRequest", examples.predict())}
    invocations: dict[str, Any] = {_JSON: _body("InvocationsRequest", examples.invocations())}
    if schema.features:
        predict["text/csv"] = invocations["text/csv"] = text_csv
    if schema.plain:
        predict["application/x-npy"] = {"schema": {"description": "What numpy.save writes."}}
    if schema.picture is not None:
        files = {"type": "object", "additionalProperties": {"description": "The bytes of a picture."}, "minProperties": 1}
        predict |= {"image/png": {"schema": {}}, "image/jpeg": {"schema": {}}, "multipart/form-data": {"schema": files}}
    asked = _ask("Predict.", predict, {_JSON: {"schema": ref("PredictResponse")}}, "Error")
    if schema.task == "classification":
        asked["parameters"] = [_top_k(len(schema.classes))]

    def scoring() -> dict[str, Any]:
        return _ask(
            "Predict, as MLflow's servers do.", invocations, {_JSON: {"schema": ref("InvocationsResponse")}}, "MlflowError"
        )

    instances = {_JSON: _body("InstancesRequest", examples.instances())}
    tensors = {_JSON: _body("InferRequest", examples.infer()), "application/octet-stream": {"schema": {}}}
    inferred = {_JSON: {"schema": ref("InferResponse")}, "application/octet-stream": {"schema": {}}}

    def infer() -> dict[str, Any]:
        return _ask("Predict, in the Open Inference Protocol; tensors may be binary.", tensors, inferred, "MessageError")

    endpoint = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    as_tensorflow = _ask(
        "Predict, as TensorFlow Serving and Vertex AI do.",
        instances,
        {_JSON: {"schema": ref("InstancesResponse")}},
        "MessageError",
    )
    return {
        "/predict": {"post": asked},
        "/invocations": {"post": scoring()},
        "/endpoints/{name}/invocations": {"post": scoring() | {"parameters": [endpoint]}},
        f"/v1/models/{name}:predict": {"post": as_tensorflow},
        f"/v2/models/{name}/infer": {"post": infer()},
        f"/v2/models/{name}/versions/{version}/infer": {"post": infer()},
    }


def _top_k(classes: int) -> dict[str, Any]:
    return {
        "name": "top_k",
        "in": "query",
        "description": "How many of the most likely classes `probabilities` holds.",
        "schema": {"type": "integer", "minimum": 1, "maximum": classes},
    }


def _view(
    summary: str, content: dict[str, Any], error: str = "Error", *, unready: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a GET. unready: what it answers with 503 in place of a refusal."""
    answers = {"200": _answer("It is.", content)} | ({"503": unready} if unready else {})
    return {"get": _operation("state", summary, answers, _OF_VIEW, error)}


def _views(facts: ModelFacts) -> dict[str, Any]:
    """Return the routes that tell of the service."""
    line: dict[str, Any] = {_JSON: {}}
    text, some = {_TEXT: {"schema": {"type": "string"}}}, {_JSON: {"schema": _ANY}}
    ready, unready = {_JSON: {"schema": ref("Ready")}}, {_JSON: {"schema": ref("NotReady")}}
    waiting = _answer("It does not, or is about to stop.", line)
    return {
        "/healthz": _view("Whether the process lives.", some),
        "/readyz": _view("Whether the model answers.", ready, unready=_answer("It does not; `reason` says why.", unready)),
        "/info": _view("What is served: schema, metrics with intervals, lineage.", some),
        "/metrics": _view("Counters and histograms, for Prometheus.", text),
        "/stats": _view("The same in short, of the last minute, with drift.", some),
        "/example": _view("Rows that the model has answered.", some),
        "/openapi.json": _view("This document.", some),
        "/": _view("A page to try the model.", {"text/html": {"schema": {"type": "string"}}}),
        "/ping": _view("Whether the model answers, as SageMaker and MLflow ask: an empty line.", line, unready=waiting),
        "/health": _view("The same as /ping.", line, unready=waiting),
        "/version": _view("The version of MLflow whose protocol is spoken, bare, as MLflow has it.", line),
        f"/v1/models/{_part(facts.description.name)}": _view("The model's state, as TensorFlow Serving.", some, "MessageError"),
    }


def _of_v2(facts: ModelFacts) -> dict[str, Any]:
    """Return what the Open Inference Protocol tells of the service."""
    some, error = {_JSON: {"schema": _ANY}}, "MessageError"
    unready = _answer("No.", some)
    index = {_JSON: {"schema": {"type": "array", "items": _ANY}}}
    found = {
        "/v2": _view("The server and its extensions.", some, error),
        "/v2/health/live": _view("Whether the process lives.", some, error),
        "/v2/health/ready": _view("Whether the model answers.", some, error, unready=unready),
        "/v2/models": _view("The models' names.", some, error),
        "/v2/models/stats": _view("Counts and times of every model, as Triton has them.", some, error),
        "/v2/repository/index": _view("The models and their states.", index, error),
    }
    found["/v2/repository/index"] |= {"post": _view("The same; Triton's clients ask by POST.", index, error)["get"]}
    name, version = _part(facts.description.name), _part(facts.description.version)
    for model in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
        found |= {
            model: _view("Inputs and outputs.", some, error),
            f"{model}/ready": _view("Whether the model answers.", some, error, unready=unready),
            f"{model}/config": _view("The model's configuration, as Triton has it.", some, error),
            f"{model}/stats": _view("Counts and times, as Triton has them.", some, error),
        }
    return found


def _part(text: str) -> str:
    """Return a name as a part of a path."""
    return quote(text, safe="")
