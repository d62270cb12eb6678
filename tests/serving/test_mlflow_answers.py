"""MLflow's scoring protocol: answers, refusals and probes in MLflow's own words."""

from typing import Any

import numpy as np
import pytest

from serving.errors import (
    DeadlineExceeded,
    Failed,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    Refusal,
    TooLarge,
    Unauthorized,
)
from serving.protocols.mlflow_scoring import VERSION, Codec, ping, refuse, version
from serving.schema import Schema
from tests.serving.asking import body_of, facts_of, request_of
from tests.serving.conftest import LABELS, REGRESSION, TABLE, TARGETS, rows_of


def answer(schema: Schema, outputs: list[list[float]]) -> Any:
    work = Codec(facts_of(schema)).parse(request_of({"inputs": rows_of(schema, len(outputs)).tolist()}))
    reply = work.encode(np.array(outputs, dtype=np.float32))
    assert (reply.status, reply.content_type) == (200, "application/json")
    body = body_of(reply)
    assert body.pop("model") == {"name": "tiny", "version": "7", "digest": "a" * 64}
    return body


def test_the_answer_has_an_entry_for_each_row() -> None:
    assert answer(REGRESSION, [[1.5], [2.5]]) == {"predictions": [1.5, 2.5]}
    assert answer(TARGETS, [[1, 2], [3, 4]]) == {"predictions": [{"length": 1, "width": 2}, {"length": 3, "width": 4}]}
    assert answer(TABLE, [[0.25, 0.75]]) == {
        "predictions": [{"label": "yes", "score": 0.75, "probabilities": {"no": 0.25, "yes": 0.75}}]
    }
    assert answer(LABELS, [[0.75, 0.25]]) == {
        "predictions": [{"labels": ["red"], "probabilities": {"red": 0.75, "round": 0.25}}]
    }


@pytest.mark.parametrize("schema", [REGRESSION, TARGETS, TABLE])
def test_an_answer_that_is_not_finite_is_refused(schema: Schema) -> None:
    with pytest.raises(InvalidInput, match="row 1: the model has no finite answer"):
        answer(schema, [[1.0] * schema.outputs, [float("nan")] * schema.outputs])


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Unauthorized("no"), 401, "UNAUTHENTICATED"),
        (NotFound("no"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (TooLarge("no"), 413, "BAD_REQUEST"),
        (Failed(), 500, "INTERNAL_ERROR"),
        (NotReady("no"), 503, "TEMPORARILY_UNAVAILABLE"),
        (Overloaded("no", retry_after=7), 503, "TEMPORARILY_UNAVAILABLE"),
        (DeadlineExceeded("no"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_refusals_carry_mlflows_names(refusal: Refusal, status: int, code: str) -> None:
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS

    reply = refuse(refusal, request_of({}))
    assert (reply.status, body_of(reply)) == (status, {"error_code": code, "message": str(refusal)})
    assert code == "BAD_REQUEST" or ERROR_CODE_TO_HTTP_STATUS[code] == status
    headers = dict(reply.headers)
    assert headers.get("Retry-After") == (None if refusal.retry_after is None else "7")
    assert headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


def test_probes_answer_as_mlflows_server_does() -> None:
    assert [(reply.status, reply.body, reply.content_type) for reply in (ping(True), ping(False))] == [
        (200, b"\n", "application/json"),
        (503, b"\n", "application/json"),
    ]
    found = version()
    assert (found.status, found.body.decode(), found.content_type) == (200, VERSION, "application/json")
