"""Requests as clients send them: the proof that what a cell or a picture becomes at the service is what the model learned from.

The answers to rows are compared elsewhere (pipeline.exporting.parity); here it is the way from a cell to the row.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Prepared
from pipeline.errors import GateRefused
from pipeline.exporting.parity import Tolerance
from serving.bundle import Golden
from serving.errors import InvalidInput
from serving.images import decode
from serving.protocols.native import Decoder
from serving.schema import Array, Feature, Schema

_MOST_LINES = 5


def prove_requests(prepared: Prepared, inputs: Array) -> int:
    """Send the validation rows that `prepare` kept as requests through the service's decoders, and compare bit for bit.

    inputs: (rows, *shape) of the validation split. Returns how many were compared; raises GateRefused, naming row, column and
    cell, where a request becomes other numbers than those that the model was validated on.
    """
    schema = prepared.schema
    if schema.features:
        rows = prepared.request_rows
        prove_cells(schema, prepared.requests, rows, inputs[rows])
        return len(rows)
    rows, pictures = pictures_of(prepared)
    prove_pictures(schema, pictures, rows, inputs[rows])
    return len(rows)


def prove_cells(schema: Schema, requests: Sequence[Sequence[Any]], rows: Sequence[int], stored: Array) -> None:
    """Raise GateRefused unless each request, as `inputs` and as `records`, is decoded into its stored row.

    requests: cells in the schema's order; rows: their numbers in the validation split; stored: (requests, values).
    """
    decoder, faults = Decoder(schema), []
    names = [feature.name for feature in schema.features]
    for cells, row, expected in zip(requests, rows, stored, strict=True):
        record = {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        bodies = {"inputs": [list(cells)], "records": [record]}
        faults += [fault for key, body in bodies.items() if (fault := _fault(decoder, schema, key, body, cells, row, expected))]
    if faults:
        raise GateRefused(*faults[:_MOST_LINES])


def _fault(
    decoder: Decoder, schema: Schema, key: str, body: Any, cells: Sequence[Any], row: int, expected: Array
) -> str | None:
    where = f"export: validation row {row}, sent as `{key}`"
    try:
        found = decoder.decode(msgspec.json.encode({key: body}))[0]
    except InvalidInput as error:
        return f"{where}, is refused by the service: {error.field}: {error}; the row: {_shown(list(cells))}"
    same = _same(found, expected)
    if same.all():
        return None
    position = int(same.argmin())
    column = int(np.searchsorted(schema.starts, position, side="right")) - 1
    return (
        f"{where}, becomes another row at the service: column {schema.features[column].name!r}, cell {_shown(cells[column])}: "
        f"{found[position]:g}, the model learned from {expected[position]:g}; delete the prepared folder and run prepare again"
    )


def pictures_of(prepared: Prepared) -> tuple[list[int], list[bytes]]:
    """Return the pictures that `prepare` kept, with their positions in the validation split; none where rows were no files."""
    if Prepared.PICTURES not in prepared.manifest.makes:
        return [], []
    kept = prepared.read_json(Prepared.PICTURES)
    return kept["rows"], [base64.b64decode(picture, validate=True) for picture in kept["pictures"]]


def prove_pictures(schema: Schema, pictures: Sequence[bytes], rows: Sequence[int], stored: Array) -> None:
    """Raise GateRefused unless each picture is decoded into its stored row, (pictures, *shape)."""
    faults = []
    for picture, row, expected in zip(pictures, rows, stored, strict=True):
        try:
            same = _same(_decoded(picture, schema), expected)
        except InvalidInput as error:
            faults.append(f"export: the picture of validation row {row} is refused by the service: {error}")
            continue
        if not same.all():
            place = tuple(int(axis) for axis in np.argwhere(~same)[0])
            faults.append(
                f"export: the picture of validation row {row} becomes other numbers at the service, first at {place}; "
                "delete the prepared folder and run prepare again"
            )
    if faults:
        raise GateRefused(*faults[:_MOST_LINES])


def golden_cells(schema: Schema, requests: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return requests, and two that are made: one of unseen categories, one without what may be missing."""
    found = [list(cells) for cells in requests]
    categories = any(feature.kind == "category" for feature in schema.features)
    nullable = any(feature.nullable for feature in schema.features)
    if found and categories:
        found.append([_unseen(feature, cell) for feature, cell in zip(schema.features, found[0], strict=True)])
    if found and nullable:
        found.append([None if feature.nullable else cell for feature, cell in zip(schema.features, found[0], strict=True)])
    return found


def _unseen(feature: Feature, cell: Any) -> Any:
    if feature.kind != "category":
        return cell
    text = f"a {feature.name} that no row had"
    while text in feature.categories:
        text += "!"
    return text


def golden(
    schema: Schema,
    rows: list[Any],
    answer: Callable[[Array], Array],
    *,
    pictures: Sequence[bytes] = (),
    tolerance: Tolerance,
) -> Golden:
    """Return requests with the model's answers.

    rows: as a client sends them. answer: the evaluated model, (rows, *shape) -> (rows, outputs). tolerance: of the service's
    answers.
    """
    inputs = Decoder(schema).decode(msgspec.json.encode({"inputs": rows}))
    shown = np.stack([_decoded(picture, schema) for picture in pictures]) if pictures else None
    return Golden(
        inputs=rows,
        outputs=answer(inputs).tolist(),
        atol=tolerance.atol,
        rtol=tolerance.rtol,
        center=tolerance.center,
        pictures=list(pictures),
        picture_outputs=[] if shown is None else answer(shown).tolist(),
    )


def _decoded(picture: bytes, schema: Schema) -> Array:
    assert schema.picture is not None
    height, width = schema.shape[-2:]
    return decode(picture, mode=schema.picture, size=(height, width))


def _same(found: Array, expected: Array) -> NDArray[np.bool]:
    """Return where two rows hold the same bits, or both NaN, whose bits may differ."""
    bits = np.ascontiguousarray(found).view(np.int32) == np.ascontiguousarray(expected).view(np.int32)
    same: NDArray[np.bool] = bits | (np.isnan(found) & np.isnan(expected))
    return same


def _shown(cells: Any) -> str:
    text = msgspec.json.encode(cells).decode()
    return text if len(text) <= 200 else text[:200] + "…"
