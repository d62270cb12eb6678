"""The real Triton clients, synchronous and asyncio, against the Open Inference Protocol on a socket.

`serve` is what stands between these tests and a server: it takes a bundle's folder and gives "host:port".
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from serving.bundle import Golden
from serving.columns import Encoder
from tests.serving.conftest import ATOL, IMAGE, MESSY, RTOL, assert_close, expected_of, make_bundle, rows_of
from tests.serving.server import running

CELLS = [[30, True, "Bern", "2001-02-03", 2.5], [41, False, "Zürich", "2010-11-12", 7.0]]


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    with ExitStack() as servers:

        def started(folder: Path) -> str:
            service = servers.enter_context(running(folder))
            service.wait_until_ready()
            return f"127.0.0.1:{service.port}"

        yield started


@pytest.fixture(scope="module")
def url(serve: Callable[[Path], str], image_bundle: Path) -> str:
    return serve(image_bundle)


@pytest.fixture(scope="module")
def table_url(serve: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    expected = expected_of(MESSY, Encoder(MESSY).encode(CELLS))
    golden = Golden(inputs=CELLS, outputs=expected.tolist(), atol=ATOL, rtol=RTOL)
    return serve(make_bundle(tmp_path_factory.mktemp("messy") / "bundle", MESSY, golden=golden))


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url) as opened:
        yield opened


def sent(name: str, datatype: str, array: NDArray[Any], *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def wanted(*names: str, binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def assert_answered(result: triton.InferResult, rows: NDArray[Any]) -> None:
    """Both outputs are read by the client's own as_numpy."""
    expected = expected_of(IMAGE, rows)
    probabilities, label = result.as_numpy("probabilities"), result.as_numpy("label")
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (len(rows), 3))
    assert_close(probabilities, expected)
    assert label.shape == (len(rows),)
    texts = [item.decode() if isinstance(item, bytes) else item for item in label]
    assert texts == [IMAGE.classes[best] for best in expected.argmax(axis=1)]


@pytest.mark.parametrize("compressed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_rows_are_answered_in_json_and_binary_compressed_and_not(
    client: triton.InferenceServerClient, *, binary: bool, compressed: str | None
) -> None:
    rows = rows_of(IMAGE, 16)
    result = client.infer(
        "tiny",
        [sent("inputs", "FP32", rows, binary=binary)],
        outputs=wanted("probabilities", "label", binary=binary),
        request_compression_algorithm=compressed,
        response_compression_algorithm=compressed,
    )
    assert_answered(result, rows)
    size = (result.get_output("probabilities").get("parameters") or {}).get("binary_data_size")
    assert size == (rows.shape[0] * 3 * 4 if binary else None)


def test_without_outputs_all_come_back_and_the_id_is_echoed_on_the_versions_path(client: triton.InferenceServerClient) -> None:
    rows = rows_of(IMAGE, 2)
    result = client.infer("tiny", [sent("inputs", "FP32", rows)], model_version="1", request_id="r1")
    assert_answered(result, rows)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r1", "tiny", "1")


def test_other_datatypes_and_mixed_encodings_are_taken(client: triton.InferenceServerClient) -> None:
    rows = np.array([[[0, 1], [1, 0]]], dtype=np.float32)
    for name, dtype in (("FP64", np.float64), ("FP16", np.float16), ("INT64", np.int64), ("UINT8", np.uint8)):
        outputs = [*wanted("label", binary=False), *wanted("probabilities", binary=True)]
        assert_answered(client.infer("tiny", [sent("inputs", name, rows.astype(dtype))], outputs=outputs), rows)


def test_a_timeout_in_microseconds_is_kept(client: triton.InferenceServerClient) -> None:
    rows = rows_of(IMAGE, 1)
    assert_answered(client.infer("tiny", [sent("inputs", "FP32", rows)], timeout=60_000_000), rows)
    with pytest.raises(InferenceServerException) as found:
        client.infer("tiny", [sent("inputs", "FP32", rows)], timeout=1)
    assert found.value.status() == "504"
    assert "deadline passed" in found.value.message()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("inputs", np.zeros((1, 3), np.float32), "inputs[0].shape: [1, 3] is not the shape that the model takes, [-1, 2, 2]"),
        ("image", np.zeros((1, 2, 2), np.float32), 'inputs[0].name: no input is called "image"'),
        ("inputs", np.full((1, 2, 2), np.nan, np.float32), "inputs[0].data[0]: expected a finite number, got nan"),
    ],
)
def test_an_error_arrives_as_the_clients_exception_with_our_message(
    client: triton.InferenceServerClient, name: str, array: NDArray[Any], message: str
) -> None:
    with pytest.raises(InferenceServerException) as found:
        client.infer("tiny", [sent(name, "FP32", array)])
    assert found.value.status() == "400"
    assert found.value.message().startswith(message)


def test_unknown_outputs_and_models_arrive_as_exceptions_too(client: triton.InferenceServerClient) -> None:
    inputs = [sent("inputs", "FP32", rows_of(IMAGE, 1))]
    with pytest.raises(InferenceServerException, match="no output is called"):
        client.infer("tiny", inputs, outputs=wanted("logits", binary=True))
    with pytest.raises(InferenceServerException) as found:
        client.infer("other", inputs)
    assert found.value.status() == "404"


def test_health_metadata_configuration_and_index_are_understood(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    described = client.get_model_metadata("tiny")
    assert (described["platform"], described["inputs"][0]["shape"]) == ("onnx_onnxv1", [-1, 2, 2])
    config = client.get_model_config("tiny", "1")
    assert config["max_batch_size"] >= 1
    assert config["input"][0]["dims"] == [2, 2]
    assert [(entry["name"], entry["state"]) for entry in client.get_model_repository_index()] == [("tiny", "READY")]


def test_statistics_count_what_was_answered(client: triton.InferenceServerClient) -> None:
    def counted() -> int:
        (stats,) = client.get_inference_statistics("tiny")["model_stats"]
        count: int = stats["inference_stats"]["success"]["count"]
        return count

    before = counted()
    client.infer("tiny", [sent("inputs", "FP32", rows_of(IMAGE, 1))])
    assert counted() == before + 1


@pytest.mark.parametrize("binary", [True, False])
def test_a_table_of_texts_dates_and_booleans_takes_a_tensor_for_each_feature(table_url: str, *, binary: bool) -> None:
    kinds: tuple[tuple[str, Any], ...] = (
        ("FP64", np.float64),
        ("BOOL", np.bool_),
        ("BYTES", np.object_),
        ("BYTES", np.object_),
        ("FP64", np.float64),
    )
    inputs = [
        sent(feature.name, kind, np.array(cells, dtype=dtype).reshape(-1, 1), binary=binary)
        for feature, (kind, dtype), cells in zip(MESSY.features, kinds, zip(*CELLS, strict=True), strict=True)
    ]
    with triton.InferenceServerClient(table_url) as client:
        ports = client.get_model_metadata("tiny")["inputs"]
        assert [port["name"] for port in ports] == [feature.name for feature in MESSY.features]
        result = client.infer("tiny", inputs, outputs=wanted("values", binary=binary))
    assert_close(result.as_numpy("values"), expected_of(MESSY, Encoder(MESSY).encode(CELLS)))


def run(url: str, talk: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    async def session() -> None:
        async with triton_aio.InferenceServerClient(url) as client:
            await talk(client)

    asyncio.run(session())


@pytest.mark.parametrize("compressed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_the_asyncio_client_is_answered_the_same(url: str, *, binary: bool, compressed: str | None) -> None:
    rows = rows_of(IMAGE, 3)

    async def talk(client: Any) -> None:
        one = client.infer(
            "tiny",
            [sent("inputs", "FP32", rows, binary=binary)],
            outputs=wanted("probabilities", "label", binary=binary),
            request_id="r2",
            request_compression_algorithm=compressed,
            response_compression_algorithm=compressed,
        )
        result = await one
        assert_answered(result, rows)
        assert result.get_response()["id"] == "r2"

    run(url, talk)


def test_the_asyncio_client_reads_health_metadata_and_errors(url: str) -> None:
    async def talk(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("tiny", "1")
        assert (await client.get_server_metadata())["name"] == "slipway"
        assert (await client.get_model_metadata("tiny"))["versions"] == ["1"]
        assert (await client.get_model_config("tiny"))["max_batch_size"] >= 1
        assert (await client.get_model_repository_index())[0]["name"] == "tiny"
        assert (await client.get_inference_statistics("tiny"))["model_stats"][0]["name"] == "tiny"
        with pytest.raises(InferenceServerException, match=r"inputs\[0\].shape: "):
            await client.infer("tiny", [sent("inputs", "FP32", np.zeros((1, 3), np.float32))])

    run(url, talk)
