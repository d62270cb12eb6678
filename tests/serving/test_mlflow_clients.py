"""MLflow's own clients, over a socket.

`served` is all that knows of a server: it takes a schema and gives the host and port at which a model of it answers.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import helper
from requests import HTTPError

from serving.bundle import Golden
from serving.columns import Encoder
from serving.protocols.mlflow_scoring import VERSION
from serving.schema import Schema
from tests.serving.conftest import (
    ATOL,
    FEATURES,
    MESSY,
    RTOL,
    TABLE,
    expected_of,
    make_bundle,
    onnx_of,
    rows_of,
    weights_of,
)
from tests.serving.server import running

CELLS: list[list[Any]] = [[30, True, "Bern", "2001-02-03", 2.5], [41.5, "no", "Rome", "2010-11-12", 7]]
TURNED = [FEATURES[2], FEATURES[0], FEATURES[1]]  # the same columns in another order

Address = tuple[str, int]


def filling_onnx(schema: Schema) -> bytes:
    """x·W, where 0 stands for what is missing."""
    nodes = [
        helper.make_node("IsNaN", ["rows"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "rows"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["answers"]),
    ]
    return onnx_of(schema, nodes, weights=weights_of(schema), zero=np.zeros(1, dtype=np.float32))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function from a schema to the address at which a model of it answers."""
    with ExitStack() as servers:

        def serve(schema: Schema) -> Address:
            artifact = golden = None
            if not schema.plain:
                artifact, rows = filling_onnx(schema), Encoder(schema).encode(CELLS)
                golden = Golden(CELLS, expected_of(schema, rows).tolist(), atol=ATOL, rtol=RTOL)
            folder = make_bundle(tmp_path_factory.mktemp("served") / "bundle", schema, artifact, golden=golden)
            service = servers.enter_context(running(folder))
            service.wait_until_ready()
            return "127.0.0.1", service.port

        yield serve


@pytest.fixture(scope="module")
def table_address(served: Any) -> Address:
    address: Address = served(TABLE)
    return address


def scoring_client(address: Address) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of mlflow about its own type hints, when it is imported
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient
    make: Any = ScoringServerClient
    return make(*address)


def test_mlflows_scoring_client_finds_the_service_ready_and_of_its_version(table_address: Address) -> None:
    client = scoring_client(table_address)
    client.wait_server_ready(timeout=5)
    assert client.get_version() == VERSION


def test_mlflows_scoring_client_gets_answers_for_frames_arrays_and_lists(table_address: Address) -> None:
    client, rows = scoring_client(table_address), rows_of(TABLE, 3)
    frame = pd.DataFrame(rows, columns=list(FEATURES), index=["a", "b", "c"])
    expected = expected_of(TABLE, rows)
    for data in (
        frame,
        frame[TURNED],
        pd.DataFrame(rows),
        rows,
        rows.tolist(),
        {"dataframe_records": frame.to_dict("records")},
    ):
        sent = json.dumps(data) if isinstance(data, dict) else data  # mlflow 3.17 fails on a dict of its own
        answered = client.invoke(sent, params=None if isinstance(data, dict) else {}).get_predictions()
        assert list(answered.columns) == ["label", "score", "probabilities"]
        np.testing.assert_allclose(answered["score"], expected.max(axis=1), atol=ATOL)
        assert answered["label"].tolist() == [TABLE.classes[index] for index in expected.argmax(axis=1)]


def test_mlflows_scoring_client_gets_values_of_a_frame_with_texts_dates_and_missing_values(served: Any) -> None:
    frame = pd.DataFrame(
        {
            "mass": [2.5, 7.0],
            "age": [30.0, np.nan],
            "member": [True, False],
            "city": ["Bern", None],
            "joined": pd.to_datetime(["2001-02-03", "2010-11-12"]),
        }
    )
    cells: list[list[Any]] = [[30.0, True, "Bern", "2001-02-03", 2.5], [None, False, None, "2010-11-12", 7.0]]
    expected = expected_of(MESSY, np.nan_to_num(Encoder(MESSY).encode(cells)))
    found = scoring_client(served(MESSY)).invoke(frame).get_predictions("ndarray")
    np.testing.assert_allclose(found, expected[:, 0], rtol=RTOL)


def test_mlflows_scoring_client_tells_its_user_what_was_wrong(table_address: Address) -> None:
    with pytest.raises(Exception, match=r"error code 400.*dataframe_split.columns: body mass: required, but missing"):
        scoring_client(table_address).invoke(pd.DataFrame({"age": [1.0]}))


def test_mlflows_deployment_client_gets_answers_and_the_model_that_gave_them(table_address: Address) -> None:

    from mlflow.deployments import get_deploy_client

    host, port = table_address
    connect: Any = get_deploy_client
    client, rows = connect(f"http://{host}:{port}"), rows_of(TABLE, 2)
    found = client.predict(endpoint="tiny", inputs={"inputs": rows.tolist()})
    assert [row["score"] for row in found["predictions"]] == pytest.approx(expected_of(TABLE, rows).max(axis=1).tolist())
    assert found["model"]["name"] == "tiny"
    with pytest.raises(HTTPError, match="got none of the forms"):
        client.predict(endpoint="tiny", inputs={"rows": []})
