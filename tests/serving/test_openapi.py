"""The description of the service: valid, whole, in step with what is served, and with examples that work."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import msgspec
import numpy as np
import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.app import create_app
from serving.bundle import Bundle, Golden
from serving.columns import Encoder
from serving.openapi import document
from serving.schema import Feature, Schema
from tests.serving.asking import facts_of
from tests.serving.conftest import (
    ATOL,
    FEATURES,
    IMAGE,
    LABELS,
    MESSY,
    PICTURE,
    REGRESSION,
    RTOL,
    TABLE,
    TARGETS,
    expected_of,
    make_bundle,
    rows_of,
)

CELLS: list[list[Any]] = [[30, True, "Bern", "2001-02-03", 2.5], [41.5, "no", "Rome", "2010-11-12", 7]]
ILL = Feature("ill", 0, 1, "boolean", ("0", "1"), nullable=True)
LOUD = Feature("loud", 1, 3, "category", ("False", "True", "maybe"))
WORDS = msgspec.structs.replace(REGRESSION, shape=(3,), features=(ILL, LOUD, *REGRESSION.features[:1]))
SCHEMAS = {
    "words": WORDS,
    "table": TABLE,
    "messy": MESSY,
    "image": IMAGE,
    "picture": PICTURE,
    "regression": REGRESSION,
    "targets": TARGETS,
    "labels": LABELS,
}
Served = tuple[Schema, FlaskClient]
METHODS = {"GET", "POST"}


def cells_of(schema: Schema) -> list[Any]:
    if schema is WORDS:
        return [[1.0, True, 3.5], [0, "maybe", 4]]
    rows: list[Any] = rows_of(schema, 2).tolist() if schema.plain else CELLS
    return rows


def validator_of(shown: dict[str, Any], name: str) -> Any:
    """A validator of one of the document's schemas."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": shown["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def operations(shown: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in shown["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_document_is_valid_openapi_and_every_reference_leads_somewhere(schema: Schema, strict: bool, keyed: bool) -> None:
    shown = document(facts_of(schema, strict=strict), rows=cells_of(schema), keyed=keyed)
    schemathesis.openapi.from_dict(shown).validate()
    for reference in re.findall(r"'\$ref': '#/([^']*)'", str(shown)):
        target: Any = shown
        for part in reference.split("/"):
            target = target[part]
    for name in shown["components"]["schemas"]:
        jsonschema_rs.meta.validate({**shown["components"]["schemas"][name], "components": {}})
        validator_of(shown, name)
    identities = [operation["operationId"] for _, _, operation in operations(shown)]
    assert len(set(identities)) == len(identities) > 25


@pytest.fixture(scope="module", params=SCHEMAS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A service of each kind of model."""
    schema = SCHEMAS[request.param]
    golden = None
    if not schema.plain:
        cells = cells_of(schema)
        golden = Golden(cells, expected_of(schema, Encoder(schema).encode(cells)).tolist(), atol=ATOL, rtol=RTOL)
    folder = make_bundle(tmp_path_factory.mktemp("served") / "bundle", schema, golden=golden)
    return schema, create_app(Bundle(folder)).test_client()


def test_every_example_is_answered_and_both_fit_the_schemas(served: Served) -> None:
    schema, client = served
    shown = client.get("/openapi.json").get_json()
    swept = 0
    for path, _, operation in operations(shown):
        if "requestBody" not in operation:
            continue
        for content_type, body in operation["requestBody"]["content"].items():
            for name, example in body.get("examples", {}).items():
                swept += 1
                value, place = example["value"], f"{path} {content_type} {name}"
                sent: dict[str, Any] = {"json": value} if content_type == "application/json" else {"data": value}
                response = client.post(path.replace("{name}", "tiny"), content_type=content_type, **sent)
                assert response.status_code == 200, f"{place}: {response.text}"
                if content_type == "application/json":
                    validator_of(shown, body["schema"]["$ref"].rpartition("/")[2]).validate(value)
                answer = operation["responses"]["200"]["content"][response.mimetype]["schema"]["$ref"].rpartition("/")[2]
                validator_of(shown, answer).validate(response.get_json())
    assert swept == (18 if schema.features else 9)


def test_the_examples_are_the_rows_that_were_given() -> None:
    rows = rows_of(TABLE, 2).tolist()
    content = document(facts_of(TABLE), rows=rows)["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content["application/json"]["examples"]["inputs"]["value"] == {"inputs": rows}
    lines = content["text/csv"]["examples"]["csv"]["value"].splitlines()
    assert lines[0] == ",".join(FEATURES)
    np.testing.assert_array_equal([[float(cell) for cell in line.split(",")] for line in lines[1:]], rows)


def test_rows_too_large_to_read_are_no_examples() -> None:
    assert "examples" not in str(document(facts_of(IMAGE), rows=[[[0.5] * 20_000] * 2])["paths"])


def test_every_route_of_the_application_is_described_and_every_description_is_a_route(client: FlaskClient) -> None:
    shown = client.get("/openapi.json").get_json()
    described = {(method.upper(), path) for path, method, _ in operations(shown)}
    for method, path in described:
        response = client.open(path.replace("{name}", "tiny"), method=method)
        assert response.status_code not in {404, 405, 500}, (method, path, response.text)
    left_out = re.compile(r"^/(static|favicon|admin|<path:)")
    routes = {
        (method, rule.rule.replace("<model>", "tiny").replace("<version>", "1").replace("<endpoint>", "{name}"))
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) & METHODS
        if not left_out.match(rule.rule)
    }
    assert routes <= described


REFUSED: list[tuple[str, bytes, str]] = [
    ("/predict", b"{}", "application/json"),
    ("/predict?top_k=9", b'{"inputs": [[1, 2, 3]]}', "application/json"),
    ("/predict", b"a,b", "text/csv"),
    ("/predict", b"", "image/png"),
    ("/invocations", b"{}", "application/json"),
    ("/invocations", b"{}", "text/plain"),
    ("/v1/models/tiny:predict", b"{}", "application/json"),
    ("/v1/models/tiny:predict", b"{}", "text/csv"),
    ("/v2/models/tiny/infer", b"{}", "application/json"),
]


@pytest.mark.parametrize(("path", "body", "content_type"), REFUSED)
def test_refusals_are_described_with_their_content_types(
    client: FlaskClient, path: str, body: bytes, content_type: str
) -> None:
    shown = client.get("/openapi.json").get_json()
    response = client.post(path, data=body, content_type=content_type)
    assert response.status_code in {400, 415}
    described = shown["paths"][path.partition("?")[0]]["post"]["responses"][str(response.status_code)]["content"]
    assert list(described) == [response.mimetype]
    if response.mimetype == "application/json":
        validator_of(shown, described["application/json"]["schema"]["$ref"].rpartition("/")[2]).validate(response.get_json())


def test_schemas_refuse_what_the_service_refuses(client: FlaskClient) -> None:
    shown = client.get("/openapi.json").get_json()
    validator = validator_of(shown, "PredictRequest")
    good = {"inputs": [[1, 2, 3]]}
    for body, fits in [
        (good, True),
        ({"records": [dict(zip(FEATURES, [1, 2, 3], strict=True))]}, True),
        ({"inputs": [[1, 2]]}, False),
        ({"inputs": [[1, 2, "3"]]}, False),
        ({"inputs": [[1, 2, 1e39]]}, False),
        ({"inputs": []}, False),
        ({**good, "records": []}, False),
        ({"records": [{"age": 1}]}, False),
        ({}, False),
    ]:
        assert validator.is_valid(body) is fits, body
        assert (client.post("/predict", json=body).status_code == 200) is fits, body


def cell(name: str, *, strict: bool = False) -> dict[str, Any]:
    shown = document(facts_of(MESSY, strict=strict))
    found: dict[str, Any] = shown["components"]["schemas"]["Record"]["properties"][name]
    return found


def test_ranges_and_categories_are_told_and_only_enforced_in_strict_mode() -> None:
    assert "minimum" not in cell("mass")
    largest = np.nextafter(cell("mass")["exclusiveMaximum"], 0)
    with np.errstate(over="ignore"):
        assert np.isfinite(np.float32(largest))
        assert np.isinf(np.float32(cell("mass")["exclusiveMaximum"]))
    assert "Trained on 1 to 9" in cell("mass")["description"]
    assert (cell("mass", strict=True)["minimum"], cell("mass", strict=True)["maximum"]) == (1, 9)
    assert cell("city")["type"] == ["string", "number", "boolean", "null"]
    assert "Bern, Zürich, 3" in cell("city")["description"]
    assert cell("city", strict=True)["enum"] == ["Bern", "Zürich", "3", None]
    assert cell("member")["enum"] == [False, True, "false", "true", "no", "yes"]
    assert (cell("joined")["format"], cell("joined")["type"]) == ("date", ["string", "null"])
    assert document(facts_of(MESSY))["components"]["schemas"]["Record"]["required"] == ["member", "mass"]


def test_a_date_in_a_format_of_its_own_is_described_by_a_pattern() -> None:
    feature = Feature("day", 0, 20_000, "date", date_format="%d.%m.%Y")
    schema = Schema(task="regression", kind="table", shape=(2,), target="y", minimum=0, maximum=1, features=(feature,))
    found = document(facts_of(schema))["components"]["schemas"]["Record"]["properties"]["day"]
    assert found["examples"] == ["01.01.1970", "04.10.2024"]
    assert re.search(found["pattern"], "04.10.2024")
    assert not re.search(found["pattern"], "2024-10-04")


def test_a_key_is_asked_for_where_the_service_asks_for_one() -> None:
    for keyed in (False, True):
        paths = document(facts_of(TABLE), keyed=keyed)["paths"]
        assert ("security" in paths["/predict"]["post"]) is keyed
        assert ("401" in paths["/predict"]["post"]["responses"]) is keyed
        assert "security" not in paths["/healthz"]["get"]


def test_names_with_signs_of_their_own_are_parts_of_paths(tmp_path: Path) -> None:
    facts = facts_of(TABLE)
    named = type(facts)(msgspec.structs.replace(facts.description, name="a/b {c}"), facts.digest, None, facts.limits)
    assert f"/v2/models/{quote('a/b {c}', safe='')}/infer" in document(named)["paths"]


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("served", ["messy", "picture"], indirect=True)
def test_schemathesis_finds_no_failure_and_no_answer_that_is_not_described(served: Served, mode: GenerationMode) -> None:
    _, client = served
    api = schemathesis.openapi.from_wsgi("/openapi.json", client.application)
    count = 0
    for result in api.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # what is no operation fails here

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=4 if operation.method == "post" else 1,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            case.headers["Accept-Encoding"] = "identity"  # a test client does not inflate
            # What fits the schema may still be refused: a text may be no CSV, two columns may differ in length.
            case.validate_response(case.call(), excluded_checks=[positive_data_acceptance])

        if mode == GenerationMode.POSITIVE or operation.method == "post":
            ask()
            count += 1
    described = len(list(operations(client.get("/openapi.json").get_json())))
    assert count == (described - 1 if mode == GenerationMode.POSITIVE else 7)  # schemathesis leaves out the document itself
