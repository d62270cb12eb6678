"""Two versions at once: a canary that answers its share, a shadow that is compared and never heard."""

import json
from pathlib import Path

import pytest

from serving.app import create_app
from serving.bundle import Bundle
from serving.settings import Settings
from tests.serving.conftest import REGRESSION, TABLE, make_bundle, rows_of
from tests.serving.test_swap import other_bundle

BODY = json.dumps({"inputs": rows_of(TABLE, 1).tolist()}).encode()


def test_a_canary_answers_its_share_and_the_same_id_always_gets_the_same_model(table_bundle: Path, tmp_path: Path) -> None:
    canary = other_bundle(tmp_path / "canary")
    client = create_app(Bundle(table_bundle), Settings(canary=canary, percent=30.0)).test_client()

    def digest_for(request_id: str) -> str:
        response = client.post("/predict", data=BODY, headers={"x-request-id": request_id})
        digest: str = response.get_json()["model"]["digest"]
        assert response.headers["x-model-digest"] == digest
        return digest

    ids = [f"request-{number}" for number in range(1000)]
    given = [digest_for(name) for name in ids]
    assert set(given) == {Bundle(table_bundle).digest, Bundle(canary).digest}
    assert 0.25 < given.count(Bundle(canary).digest) / len(ids) < 0.35
    assert [digest_for(name) for name in ids[:50]] == given[:50]
    text = client.get("/metrics").text
    assert f'digest="{Bundle(canary).digest}"' in text or f'digest="{Bundle(canary).digest[:12]}"' in text
    assert client.get("/info").get_json()["canary"]["digest"] == Bundle(canary).digest


@pytest.mark.parametrize(("percent", "expected"), [(0.0, "live"), (100.0, "canary")])
def test_none_and_all_are_exact(table_bundle: Path, tmp_path: Path, percent: float, expected: str) -> None:
    canary = other_bundle(tmp_path / "canary")
    client = create_app(Bundle(table_bundle), Settings(canary=canary, percent=percent)).test_client()
    wanted = Bundle({"live": table_bundle, "canary": canary}[expected]).digest
    for _ in range(50):
        assert client.post("/predict", data=BODY).headers["x-model-digest"] == wanted


def test_a_shadow_is_compared_and_never_heard(table_bundle: Path, tmp_path: Path) -> None:
    shadow = other_bundle(tmp_path / "shadow")
    app = create_app(Bundle(table_bundle), Settings(shadow=shadow))
    client = app.test_client()
    for _ in range(20):
        assert client.post("/predict", data=BODY).headers["x-model-digest"] == Bundle(table_bundle).digest
    service = app.extensions["slipway"]
    service.fleet.shadow.engine.close()
    while service.fleet.shadow.engine._thread is not None:
        pass
    lines = client.get("/metrics").text.splitlines()
    assert 'slipway_shadow_rows_total{result="agree"} 20.0' in lines
    assert 'slipway_shadow_latency_difference_seconds_bucket{le="+Inf"} 20.0' in lines


def test_a_version_that_is_asked_for_is_the_one_that_answers(table_bundle: Path, tmp_path: Path) -> None:
    canary, shadow = other_bundle(tmp_path / "two", version="2"), other_bundle(tmp_path / "three", version="3")
    client = create_app(Bundle(table_bundle), Settings(canary=canary, percent=50.0, shadow=shadow)).test_client()
    tensor = {"name": "inputs", "datatype": "FP32", "shape": [1, 3], "data": rows_of(TABLE, 1).tolist()}
    for version, bundle in (("1", table_bundle), ("2", canary)):
        found = [client.post(f"/v2/models/tiny/versions/{version}/infer", json={"inputs": [tensor]}) for _ in range(20)]
        assert {answer.headers["x-model-digest"] for answer in found} == {Bundle(bundle).digest}
    assert client.post("/v2/models/tiny/versions/3/infer", json={"inputs": [tensor]}).status_code == 404  # never heard


def test_a_canary_of_another_kind_of_model_is_not_used_and_said_so(table_bundle: Path, tmp_path: Path) -> None:
    canary = make_bundle(tmp_path / "canary", REGRESSION)
    client = create_app(Bundle(table_bundle), Settings(canary=canary, percent=100.0)).test_client()
    assert client.post("/predict", data=BODY).headers["x-model-digest"] == Bundle(table_bundle).digest
    assert client.get("/readyz").status_code == 200
    assert (
        client.get("/info")
        .get_json()["swap_refused"]
        .startswith("canary: clients would break: task of the new bundle: regression")
    )
