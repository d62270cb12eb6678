"""Pictures and cells through the whole service: uploads to `POST /predict`, and golden requests that hold them."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from serving.app import create_app
from serving.bundle import Bundle, Golden
from serving.columns import Encoder
from serving.errors import BundleError
from serving.predictor import Predictor
from serving.schema import Schema
from tests.serving.conftest import (
    ATOL,
    IMAGE,
    MESSY,
    PICTURE,
    RTOL,
    TABLE,
    expected_of,
    golden_of,
    linear_onnx,
    make_bundle,
    onnx_of,
    weights_of,
)

PIXELS = [np.random.default_rng(seed).integers(0, 3, (4, 6, 3), dtype=np.uint8) for seed in range(3)]
FORM = "multipart/form-data"


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def client_of(folder: Path) -> FlaskClient:
    return create_app(Bundle(folder)).test_client()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    return client_of(make_bundle(tmp_path_factory.mktemp("picture") / "bundle", PICTURE))


def found_in(response: Any) -> list[list[float]]:
    assert response.status_code == 200, response.text
    return [list(prediction["probabilities"].values()) for prediction in response.get_json()["predictions"]]


def rows_of(*pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack(pixels).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize("content_type", ["image/png", "IMAGE/PNG", "image/*", "image/jpeg; q=1"])
def test_a_picture_is_answered_like_its_numbers_sent_as_json(pictures: FlaskClient, content_type: str) -> None:
    uploaded = pictures.post("/predict", data=png(PIXELS[0]), content_type=content_type)
    as_numbers = pictures.post("/predict", json={"inputs": rows_of(PIXELS[0]).tolist()})
    assert found_in(uploaded) == found_in(as_numbers)
    np.testing.assert_allclose(found_in(uploaded), expected_of(PICTURE, rows_of(PIXELS[0])), atol=1e-5)


def test_files_of_a_form_are_rows_in_the_order_sent_whatever_their_names(pictures: FlaskClient) -> None:
    # The names of the first and the last are the same: grouped by name, the order would be another one.
    boundary = b"--cut\r\n"
    parts = [
        b'Content-Disposition: form-data; name="%s"; filename="x.png"\r\n\r\n' % name + png(pixels) + b"\r\n"
        for name, pixels in zip((b"a", b"b", b"a"), PIXELS, strict=True)
    ]
    body = boundary + boundary.join(parts) + b"--cut--\r\n"
    response = pictures.post("/predict", data=body, content_type=f"{FORM}; boundary=cut")
    np.testing.assert_allclose(found_in(response), expected_of(PICTURE, rows_of(*PIXELS)), atol=1e-5)
    rows = [line for line in pictures.get("/metrics").text.splitlines() if line.startswith("slipway_rows_total")]
    assert float(rows[0].split()[-1]) >= 3


def form_of(**files: Any) -> dict[str, Any]:
    return {"data": files, "content_type": FORM}


@pytest.mark.parametrize(
    ("sent", "field", "message"),
    [
        ({"data": b"no picture", "content_type": "image/png"}, None, "this is no picture in PNG, JPEG, WebP, BMP or GIF"),
        ({"data": b"", "content_type": "image/png"}, None, "the picture is empty"),
        (form_of(a=(io.BytesIO(png(PIXELS[0])), "a.png"), b=(io.BytesIO(b"x"), "b")), "files[1]", "this is no picture"),
        (form_of(picture="digit.png"), "picture", "is a text, not a file; "),
        ({"data": b"--cut--\r\n", "content_type": f"{FORM}; boundary=cut"}, None, "the form holds no file; "),
        ({"data": b"--cut\r\nno", "content_type": f"{FORM}; boundary=cut"}, None, "the body is no whole multipart/form-data"),
        ({"data": png(PIXELS[0]), "content_type": FORM}, None, "the body is no whole multipart/form-data; send a picture's"),
        ({"data": png(PIXELS[0]), "content_type": f"{FORM}; boundary=ü"}, None, "the body is no whole multipart/form-data"),
        (
            {"data": png(PIXELS[0])},
            None,
            "the body is a picture, sent without a Content-Type, so it is not read as one; send a",
        ),
        (
            {"data": b"--c\r\nContent-Disposition: form-data\r\n\r\nx\r\n--c--", "content_type": f"{FORM}; boundary=c"},
            None,
            "is a text, not a file; ",
        ),
    ],
)
def test_what_is_no_picture_is_refused_with_its_place(
    pictures: FlaskClient, sent: dict[str, Any], field: str | None, message: str
) -> None:
    response = pictures.post("/predict", **sent)
    error = response.get_json()["error"]
    assert (response.status_code, error["code"], error.get("field")) == (400, "invalid_input", field)
    assert error["message"].startswith(message)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/octet-stream", "text/plain"])
def test_a_picture_with_another_content_type_is_told_which_one_to_send(
    pictures: FlaskClient, kind: str, content_type: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, kind)
    response = pictures.post("/predict", data=buffer.getvalue(), content_type=content_type)
    assert response.status_code == 400
    message = response.get_json()["error"]["message"]
    assert message.startswith(f"the body is a picture, sent with the Content-Type {content_type}, so ")
    assert message.endswith("curl -H 'Content-Type: image/png' --data-binary @picture.png")


@pytest.mark.parametrize("schema", [TABLE, IMAGE], ids=["table", "arrays"])
@pytest.mark.parametrize("content_type", ["image/png", f"{FORM}; boundary=x"])
def test_a_model_that_takes_no_pictures_says_what_to_send_instead(tmp_path: Path, schema: Schema, content_type: str) -> None:
    response = client_of(make_bundle(tmp_path / "bundle", schema)).post("/predict", data=b"x", content_type=content_type)
    error = response.get_json()["error"]
    assert (response.status_code, error["code"]) == (415, "unsupported_media_type")
    assert error["message"].startswith("this model takes ")
    assert ('{"records": ' if schema is TABLE else '{"inputs": ') in error["message"]


def with_pictures(**changed: Any) -> Golden:
    shown = rows_of(*PIXELS)
    extra = {"pictures": [png(pixels) for pixels in PIXELS], "picture_outputs": expected_of(PICTURE, shown).tolist()}
    return msgspec.structs.replace(golden_of(PICTURE), **(extra | changed))


def test_golden_pictures_travel_as_base64_and_are_replayed(tmp_path: Path) -> None:
    bundle = Bundle(make_bundle(tmp_path / "bundle", PICTURE, golden=with_pictures()))
    stored = json.loads(bundle.read("golden.json"))["pictures"]
    assert [base64.b64decode(picture) for picture in stored] == [png(pixels) for pixels in PIXELS]
    Predictor.from_bundle(bundle).check(bundle.golden())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pictures": [png(pixels) for pixels in PIXELS[::-1]]}, "^golden picture 0: output . is "),
        ({"pictures": [png(PIXELS[0]), b"x", png(PIXELS[2])]}, "^golden pictures: this is no picture"),
        ({"pictures": []}, "^golden pictures: shapes "),
        ({"picture_outputs": []}, "^golden pictures: shapes "),
    ],
)
def test_a_service_that_reads_pictures_otherwise_is_not_ready(changed: dict[str, Any], message: str) -> None:
    predictor = Predictor(linear_onnx(PICTURE), schema=PICTURE, runtime="onnxruntime")
    with pytest.raises(BundleError, match=message):
        predictor.check(with_pictures(**changed))
    with pytest.raises(BundleError, match="the schema says that this model takes none"):
        Predictor(linear_onnx(IMAGE), schema=IMAGE, runtime="onnxruntime").check(
            msgspec.structs.replace(golden_of(IMAGE), pictures=[b"x"], picture_outputs=[[0.0, 0.0, 1.0]])
        )


CELLS: list[list[Any]] = [[30.5, True, "Bern", "2024-02-29", 7], [None, "no", "Atlantis", None, 2]]


def messy_onnx() -> bytes:
    """x·W with 0 for what is missing."""
    nodes = [
        helper.make_node("IsNaN", ["rows"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "rows"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["answers"]),
    ]
    return onnx_of(MESSY, nodes, weights=weights_of(MESSY), zero=np.zeros(1, dtype=np.float32))


def messy_golden(cells: list[list[Any]]) -> Golden:
    rows = np.nan_to_num(Encoder(MESSY).encode(CELLS))
    return Golden(cells, expected_of(MESSY, rows).tolist(), ATOL, RTOL)


def test_a_table_of_cells_is_served_and_checked_with_cells(tmp_path: Path) -> None:
    golden = messy_golden(CELLS)
    client = client_of(make_bundle(tmp_path / "bundle", MESSY, messy_onnx(), golden=golden))
    assert client.get("/readyz").status_code == 200
    names = [feature.name for feature in MESSY.features]
    records = [{name: cell for name, cell in zip(names, row, strict=True) if cell is not None} for row in CELLS]
    answers = client.post("/predict", json={"records": records}).get_json()["predictions"]
    assert [[answer["value"]] for answer in answers] == [pytest.approx(row, rel=1e-4) for row in golden.outputs]
    refused = client.post("/predict", json={"records": [records[0] | {"joined": "soon"}]}).get_json()["error"]
    assert refused["field"] == "records[0].joined"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([CELLS[0], [*CELLS[1][:2], "Bern", *CELLS[1][3:]]], "^golden request 1: output 0 is "),
        ([CELLS[0], [*CELLS[1][:3], "soon", 2]], "^golden request 1: 'joined': expected a date"),
        ([CELLS[0], CELLS[1][:4]], "^golden requests: ValueError: "),
        ([CELLS[0], 5], "^golden requests: TypeError: "),
        ([], "^golden requests: shapes "),
    ],
)
def test_golden_cells_that_are_not_answered_as_evaluated_are_refused(cells: list[Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Predictor(messy_onnx(), schema=MESSY, runtime="onnxruntime").check(messy_golden(cells))
