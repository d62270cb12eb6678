"""Who may ask, from where, and what every reply carries."""

import json
from pathlib import Path

import pytest

from serving.app import create_app
from serving.bundle import Bundle
from serving.settings import Settings
from tests.serving.conftest import TABLE, rows_of

BODY = json.dumps({"inputs": rows_of(TABLE, 1).tolist()}).encode()
KEYS = (b"first-key", "schlüssel".encode())


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer first-key"}, {"authorization": "bearer  first-key"}, {"x-api-key": "first-key"}],
    ids=["bearer", "lower case", "x-api-key"],
)
def test_a_key_opens_everything(table_bundle: Path, headers: dict[str, str]) -> None:
    client = create_app(Bundle(table_bundle), Settings(keys=KEYS)).test_client()
    assert client.post("/predict", data=BODY, headers=headers).status_code == 200
    for path in ("/info", "/metrics", "/stats", "/v2", "/v2/models/tiny"):
        assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer first-ke"},
        {"authorization": "Bearer "},
        {"authorization": "Basic first-key"},
        {"x-api-key": ""},
    ],
    ids=["none", "wrong", "a part", "empty", "basic", "empty x-api-key"],
)
def test_without_a_key_only_probes_and_the_page_answer(table_bundle: Path, headers: dict[str, str]) -> None:
    client = create_app(Bundle(table_bundle), Settings(keys=KEYS)).test_client()
    for path in ("/predict", "/invocations", "/v2/models/tiny/infer", "/v1/models/tiny:predict", "/endpoints/a/invocations"):
        refused = client.post(path, data=BODY, headers=headers)
        assert refused.status_code == 401, path
        assert "first-key" not in refused.text
    for path in ("/info", "/metrics", "/stats", "/openapi.json", "/v2/models/tiny", "/nowhere"):
        assert client.get(path, headers=headers).status_code == 401, path
    for path in ("/", "/healthz", "/readyz", "/ping", "/v2/health/ready", "/static/page.css"):
        assert client.get(path, headers=headers).status_code == 200, path


def test_an_id_is_kept_if_it_is_one_and_made_if_it_is_not(table_bundle: Path) -> None:
    client = create_app(Bundle(table_bundle)).test_client()
    assert client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {client.post("/predict", data=b"{").headers["x-request-id"] for _ in range(20)}
    assert len(made) == 20
    for bad in ("a" * 129, "with space", 'quote"' * 30):
        assert client.get("/healthz", headers={"x-request-id": bad}).headers["x-request-id"] != bad


def test_every_reply_names_the_model_and_forbids_guessing_its_type(table_bundle: Path) -> None:
    client = create_app(Bundle(table_bundle)).test_client()
    for reply in (
        client.post("/predict", data=BODY),
        client.post("/predict", data=b"{"),
        client.post("/invocations", data=b"{"),
    ):
        assert reply.headers["x-model-version"] == "1"
        assert reply.headers["x-model-digest"] == Bundle(table_bundle).digest
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_pages_of_other_origins_may_ask_only_where_they_were_named(table_bundle: Path) -> None:
    origin = {"origin": "https://a.example"}
    closed = create_app(Bundle(table_bundle)).test_client()
    assert "access-control-allow-origin" not in closed.post("/predict", data=BODY, headers=origin).headers
    client = create_app(Bundle(table_bundle), Settings(origins=("https://a.example",))).test_client()
    assert client.post("/predict", data=BODY, headers=origin).headers["access-control-allow-origin"] == "https://a.example"
    assert (
        "access-control-allow-origin" not in client.post("/predict", data=BODY, headers={"origin": "https://b.example"}).headers
    )
    asked = client.options("/predict", headers=origin | {"access-control-request-method": "POST"})
    assert asked.status_code == 204
    assert "content-type" not in asked.headers
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-origin"] == "https://a.example"
