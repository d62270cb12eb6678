"""The WSGI application: every route, and every way to be refused."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import helper
from werkzeug.test import TestResponse

from serving.app import create_app
from serving.bundle import Bundle, Golden
from serving.facts import Limits
from serving.schema import Feature, Schema
from serving.settings import Settings
from tests.serving.conftest import FEATURES, IMAGE, REGRESSION, TABLE, expected_of, golden_of, make_bundle, onnx_of, rows_of

ROWS = rows_of(TABLE, 3)
INPUTS = json.dumps({"inputs": ROWS.tolist()})


def client_of(folder: Path, settings: Settings | None = None) -> FlaskClient:
    return create_app(Bundle(folder), settings).test_client()


def limited(folder: Path, body_bytes: int) -> FlaskClient:
    return client_of(folder, Settings(limits=Limits(body_bytes=body_bytes)))


def error_of(response: TestResponse) -> dict[str, str]:
    """The error that every refusal must carry, and nothing beside it."""
    assert response.mimetype == "application/json"
    body = response.get_json()
    assert list(body) == ["error"]
    error: dict[str, str] = body["error"]
    assert {"code", "message"} <= error.keys() <= {"code", "message", "field"}
    assert all(isinstance(value, str) and value for value in error.values())
    return error


def counts_of(client: FlaskClient) -> dict[str, float]:
    """Value of each series in `/metrics`."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.mimetype == "text/plain"
    lines = [line.rpartition(" ") for line in response.text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


def test_inputs_and_records_get_the_same_answers_with_the_model_that_gave_them(client: FlaskClient, table_bundle: Path) -> None:
    records = [dict(zip(FEATURES, row, strict=True)) for row in ROWS.tolist()]
    by_position = client.post("/predict", data=INPUTS)
    by_name = client.post("/predict", json={"records": records})
    assert by_position.status_code == by_name.status_code == 200
    assert by_position.mimetype == "application/json"
    assert by_position.get_json() == by_name.get_json()

    body = by_position.get_json()
    assert body["model"] == {"name": "tiny", "version": "1", "digest": Bundle(table_bundle).digest}
    found = [list(prediction["probabilities"].values()) for prediction in body["predictions"]]
    np.testing.assert_allclose(found, expected_of(TABLE, ROWS), atol=1e-5)
    assert [prediction["label"] for prediction in body["predictions"]] == [TABLE.classes[i] for i in np.argmax(found, axis=1)]


def test_images_get_labels_and_a_regression_gets_values(image_bundle: Path, regression_bundle: Path) -> None:
    image = client_of(image_bundle).post("/predict", json={"inputs": rows_of(IMAGE, 2).tolist()}).get_json()
    assert [set(prediction["probabilities"]) for prediction in image["predictions"]] == [{"0", "1", "2"}] * 2
    rows = rows_of(REGRESSION, 2)
    values = client_of(regression_bundle).post("/predict", json={"inputs": rows.tolist()}).get_json()
    assert values["predictions"] == [{"value": pytest.approx(value, rel=1e-5)} for (value,) in expected_of(REGRESSION, rows)]


def test_a_whole_bundle_is_alive_ready_and_describes_itself(client: FlaskClient, table_bundle: Path) -> None:
    identity = {"name": "tiny", "version": "1", "digest": Bundle(table_bundle).digest}
    alive, ready, info = (client.get(path) for path in ("/healthz", "/readyz", "/info"))
    assert (alive.status_code, alive.get_json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.get_json()) == (200, {"status": "ready", "model": identity})
    assert info.status_code == 200
    assert info.get_json()["model"] == identity
    assert info.get_json()["ready"] is True
    assert [feature["name"] for feature in info.get_json()["schema"]["features"]] == list(FEATURES)


@pytest.fixture
def unready(tmp_path: Path) -> FlaskClient:
    """A service whose bundle is whole, but whose model does not give the evaluated answers."""
    golden = golden_of(TABLE)
    golden.outputs[1][0] += 0.5
    return client_of(make_bundle(tmp_path / "unready", TABLE, golden=golden))


def test_a_model_that_fails_its_golden_requests_lives_but_is_neither_ready_nor_answers(unready: FlaskClient) -> None:
    assert unready.get("/healthz").status_code == 200
    ready = unready.get("/readyz")
    assert ready.status_code == 503
    assert ready.get_json()["status"] == "not ready"
    assert ready.get_json()["reason"].startswith("golden request 1: output 0 is ")
    answer = unready.post("/predict", data=INPUTS)
    assert (answer.status_code, error_of(answer)["code"]) == (503, "not_ready")
    assert unready.get("/info").get_json()["ready"] is False
    assert counts_of(unready)["slipway_ready"] == 0


@pytest.mark.parametrize("fault", ["artifact", "golden", "feature"])
def test_a_model_that_cannot_be_loaded_lives_unready_with_its_reason(tmp_path: Path, fault: str) -> None:
    quoted = Schema(
        task="regression", kind="table", shape=(1,), target="y", minimum=0, maximum=1, features=(Feature('width "', 0, 1),)
    )
    folder, reason = {
        "artifact": (make_bundle(tmp_path / "artifact", TABLE, b"no model"), "model.onnx: not an ONNX file"),
        "golden": (make_bundle(tmp_path / "golden", TABLE, golden=Golden([], [], atol=1, rtol=1)), "golden requests: "),
        "feature": (make_bundle(tmp_path / "feature", quoted), "the schema's feature names cannot be served"),
    }[fault]
    client = client_of(folder)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == client.post("/predict", data=INPUTS).status_code == 503
    assert client.get("/readyz").get_json()["reason"].startswith(reason)


def counted(client: FlaskClient, name: str, **labels: str) -> float:
    """The sum of all series of a metric with these labels."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    return sum(
        value
        for series, value in counts_of(client).items()
        if series.partition("{")[0] == name and wanted <= set(series.partition("{")[2].rstrip("}").split(","))
    )


def test_requests_and_rows_are_counted_by_protocol_and_status(client: FlaskClient) -> None:
    assert counts_of(client)["slipway_ready"] == 1
    assert counted(client, "slipway_rows_total") == 0
    for body in (INPUTS, INPUTS, "{}"):
        client.post("/predict", data=body)
    client.post("/invocations", json={"inputs": ROWS.tolist()})
    client.get("/predict")
    assert counted(client, "slipway_rows_total") == 9
    assert counted(client, "slipway_requests_total", protocol="predict", status="200") == 2
    assert counted(client, "slipway_requests_total", protocol="predict", status="400") == 1
    assert counted(client, "slipway_requests_total", protocol="invocations", status="200") == 1
    assert counted(client, "slipway_requests_total", protocol="other", status="405") == 1
    assert counted(client, "slipway_request_duration_seconds_count", protocol="predict") == 3
    assert counted(client, "slipway_rejections_total", reason="invalid_input") == 1
    assert counted(client, "slipway_model_info") == 1


def test_unknown_paths_share_one_series_however_many_are_tried(client: FlaskClient) -> None:
    before = counts_of(client)
    for index in range(20):
        client.get(f"/admin/{index}")
    assert counted(client, "slipway_requests_total", protocol="other", status="404") == 20
    new = {series for series in counts_of(client).keys() - before.keys() if "404" in series}
    assert len(new) == 1


def test_an_invalid_request_names_its_field(client: FlaskClient) -> None:
    response = client.post("/predict", data='{"records": [{"age": "old"}]}')
    assert response.status_code == 400
    assert error_of(response) == {
        "code": "invalid_input",
        "message": "expected a number, got a string",
        "field": "records[0].age",
    }


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_the_body_is_read_as_json_whatever_curl_calls_it(client: FlaskClient, content_type: str) -> None:
    assert client.post("/predict", data=INPUTS, content_type=content_type).status_code == 200


def test_a_body_over_the_limit_is_refused_with_the_limit_and_one_at_the_limit_is_not(table_bundle: Path) -> None:
    client = limited(table_bundle, len(INPUTS))
    assert client.post("/predict", data=INPUTS).status_code == 200
    response = client.post("/predict", data=INPUTS + " ")
    assert response.status_code == 413
    assert error_of(response) == {
        "code": "request_entity_too_large",
        "message": f"the body is larger than {len(INPUTS)} bytes; send fewer rows in a request",
    }


def test_a_body_of_unknown_length_obeys_the_same_limit(table_bundle: Path) -> None:
    client = limited(table_bundle, len(INPUTS))
    chunked = {"headers": {"Transfer-Encoding": "chunked"}, "environ_overrides": {"wsgi.input_terminated": True}}
    bodies = [INPUTS, INPUTS + " ", INPUTS + " " * 10_000]
    answers = [client.post("/predict", input_stream=io.BytesIO(body.encode()), **chunked) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 413, 413]


NAMES = {"<model>": "tiny", "<version>": "1", "<endpoint>": "any", "<name>": "page.css"}


def filled(rule: str) -> str:
    for name, value in NAMES.items():
        rule = rule.replace(name, value)
    assert "<" not in rule
    return rule


def test_each_route_refuses_other_methods_in_the_dialect_of_its_path(client: FlaskClient) -> None:
    swept = 0
    for rule in client.application.url_map.iter_rules():
        response = client.open(filled(rule.rule), method="DELETE")
        assert response.status_code == 405, rule.rule
        assert "Allow" in response.headers
        assert response.is_json
        body = response.get_json()
        if rule.rule.startswith(("/v1", "/v2")):
            assert isinstance(body["error"], str)
        elif rule.rule.startswith(("/invocations", "/endpoints")):
            assert body.keys() == {"error_code", "message"}
        else:
            assert body["error"]["code"] == "method_not_allowed"
        swept += 1
    assert swept >= 30


def test_each_route_answers_its_own_method(client: FlaskClient) -> None:
    row = {"instances": ROWS.tolist()}
    tensor = {"name": "inputs", "datatype": "FP32", "shape": list(ROWS.shape), "data": ROWS.tolist()}
    bodies = {"/predict": {"inputs": ROWS.tolist()}, "infer": {"inputs": [tensor]}, "invocations": row, ":predict": row}
    for rule in client.application.url_map.iter_rules():
        assert rule.methods is not None
        if rule.rule.startswith("/admin/"):
            continue  # not there without a key: tests/serving/test_swap.py
        if "GET" in rule.methods:
            assert client.get(filled(rule.rule)).status_code == 200, rule.rule
        else:
            (body,) = (
                body for end, body in bodies.items() if rule.rule.endswith(end) and (end != "/predict" or rule.rule == end)
            )
            assert client.post(filled(rule.rule), json=body).status_code == 200, rule.rule


def lookup_onnx() -> bytes:
    """Sum of the rows of a secret table that the inputs point to; fails inside the runtime when one points beyond it."""
    nodes = [
        helper.make_node("Cast", ["rows"], ["indices"], to=7),  # int64
        helper.make_node("Gather", ["secret_table", "indices"], ["found"], axis=0),  # (batch, 3, 2)
        helper.make_node("ReduceSum", ["found", "axes"], ["answers"], keepdims=0),
    ]
    return onnx_of(TABLE, nodes, secret_table=np.full((5, 2), 0.25, dtype=np.float32), axes=np.array([1]))


def test_a_failure_of_our_own_is_logged_whole_and_answered_with_nothing_internal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    golden = Golden([[0, 1, 4]], [[0.75, 0.75]], atol=1e-6, rtol=0)
    client = client_of(make_bundle(tmp_path / "lookup", TABLE, lookup_onnx(), golden=golden))
    assert client.post("/predict", json={"inputs": [[0, 1, 4]]}).status_code == 200
    response = client.post("/predict", json={"inputs": [[0, 1, 99]]})
    assert response.status_code == 500
    assert error_of(response) == {
        "code": "internal_server_error",
        "message": "the request failed here; see the service's log",
    }
    assert "Gather" in caplog.text
    assert "Traceback" in caplog.text
    assert client.post("/predict", json={"inputs": [[0, 1, 4]]}).status_code == 200
    assert counted(client, "slipway_requests_total", protocol="predict", status="500") == 1


def test_a_row_without_a_finite_answer_is_refused_and_not_counted(client: FlaskClient) -> None:
    response = client.post("/predict", json={"inputs": [[0, 0, 0], [3e38, 3e38, -3e38]]})
    assert response.status_code == 400
    assert error_of(response)["message"].startswith("row 1: the model has no finite answer")
    assert counted(client, "slipway_rows_total") == 0


def test_two_services_in_one_process_count_for_themselves(client: FlaskClient, image_bundle: Path) -> None:
    other = client_of(image_bundle)
    client.post("/predict", data=INPUTS)
    assert (counted(client, "slipway_rows_total"), counted(other, "slipway_rows_total")) == (3, 0)


def test_the_service_imports_nothing_of_what_trains() -> None:
    script = """
import sys
import serving.app, serving.command

heavy = {"torch", "mlflow", "pydantic", "yaml", "onnx", "sklearn", "matplotlib", "pipeline"}
assert {"flask", "msgspec", "numpy", "prometheus_client"} <= sys.modules.keys()
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
