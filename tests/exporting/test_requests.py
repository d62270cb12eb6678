"""What a client sends becomes, at the service, the very row that the model learned from, or the export is refused."""

import io
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import GateRefused
from pipeline.exporting.parity import Tolerance
from pipeline.exporting.requests import golden, golden_cells, prove_cells, prove_pictures
from serving.columns import Encoder
from serving.protocols.native import Decoder
from serving.schema import Array, Feature, Schema

FEATURES = (
    Feature("age", 0, 90, nullable=True),
    Feature("member", 0, 1, "boolean", ("no", "yes")),
    Feature("city", 1, 2, "category", ("Bern", "Zürich"), nullable=True),
    Feature("joined", 0, 20_000, "date"),
)
SCHEMA = Schema(task="regression", kind="table", shape=(5,), target="y", minimum=0, maximum=1, features=FEATURES)
CELLS: list[list[Any]] = [
    [None, "no", None, "2024-02-29"],
    [0.1, "YES", "Zu\u0308rich", "1970-01-01T00:00:01"],
    [1e30, True, "Atlantis", "0001-01-01"],
]
ROWS = [7, 3, 40]
STORED = Encoder(SCHEMA).encode(CELLS)


def test_requests_that_become_the_stored_rows_pass() -> None:
    prove_cells(SCHEMA, CELLS, ROWS, STORED)


@pytest.mark.parametrize(
    ("position", "number", "column", "cell"),
    [
        (0, np.nextafter(np.float32(0.1), np.float32(1)), "age", "0.1"),
        (1, 0.0, "member", '"YES"'),
        (2, np.nan, "city", '"Zu\u0308rich"'),
        (4, 2.0, "joined", '"1970-01-01T00:00:01"'),
    ],
)
def test_a_single_other_bit_is_refused_with_row_column_and_cell(position: int, number: float, column: str, cell: str) -> None:
    stored = STORED.copy()
    stored[1, position] = number
    with pytest.raises(GateRefused) as caught:
        prove_cells(SCHEMA, CELLS, ROWS, stored)
    assert len(caught.value.lines) == 2
    for line, key in zip(caught.value.lines, ("inputs", "records"), strict=True):
        assert line.startswith(f"export: validation row 3, sent as `{key}`, becomes another row at the service: ")
        assert f"column {column!r}, cell {cell}: " in line


def test_a_request_that_the_service_would_refuse_is_named() -> None:
    cells = [CELLS[0], [0.1, "maybe", *CELLS[1][2:]], CELLS[2]]
    with pytest.raises(GateRefused, match="validation row 3, sent as `inputs`, is refused by the service: .*expected true or"):
        prove_cells(SCHEMA, cells, ROWS, STORED)


def test_golden_requests_are_cells_and_made_ones_of_unseen_and_of_missing_values() -> None:
    found = golden_cells(SCHEMA, CELLS[1:2])
    assert found[0] == CELLS[1]
    unseen, missing = Decoder(SCHEMA).decode(msgspec.json.encode({"inputs": found[1:]}))
    assert (unseen[2], missing[1]) == (0, 1)
    assert np.isnan(missing).tolist() == [True, False, True, False, False]
    assert len(golden_cells(SCHEMA, CELLS[:2])) == 4


def test_an_unseen_category_is_made_up_such_that_no_row_has_it() -> None:
    feature = Feature("x", 1, 1, "category", ("a x that no row had", "a x that no row had!"))
    schema = Schema(task="regression", kind="table", shape=(1,), target="y", minimum=0, maximum=1, features=(feature,))
    assert golden_cells(schema, [["a"]])[1] not in [[text] for text in feature.categories]


def test_golden_answers_are_those_of_the_model_to_the_decoded_cells() -> None:
    def answer(rows: Array) -> Array:
        sums: Array = np.nan_to_num(rows).sum(axis=1, keepdims=True)
        return sums

    made = golden(SCHEMA, CELLS, answer, tolerance=Tolerance(1e-4, 1e-3, [0.5]))
    assert made.inputs == CELLS
    np.testing.assert_allclose(made.outputs, np.nan_to_num(STORED).sum(axis=1, keepdims=True))
    assert (made.pictures, made.picture_outputs, made.atol, made.rtol, made.center) == ([], [], 1e-4, 1e-3, [0.5])


PICTURE = Schema(
    task="classification", kind="image", shape=(4, 6), target="d", minimum=0, maximum=255, classes=("0", "1"), picture="L"
)
PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_are_proven_and_answered_like_rows() -> None:
    rows = PIXELS[np.newaxis].astype(np.float32)
    prove_pictures(PICTURE, [png()], [5], rows)
    made = golden(PICTURE, rows.tolist(), lambda shown: shown[:, 0, :2], pictures=[png()], tolerance=Tolerance(0, 0))
    assert made.pictures == [png()]
    assert made.picture_outputs == made.outputs == [[0.0, 1.0]]


def test_a_picture_that_becomes_other_numbers_or_none_is_refused_with_its_row() -> None:
    rows = np.stack([PIXELS, PIXELS]).astype(np.float32)
    rows[0, 1, 2] += 1
    with pytest.raises(GateRefused) as caught:
        prove_pictures(PICTURE, [png(), b"x"], [5, 6], rows)
    first, second = caught.value.lines
    assert first.startswith("export: the picture of validation row 5 becomes other numbers at the service, first at (1, 2); ")
    assert second.startswith("export: the picture of validation row 6 is refused by the service: this is no picture")
