r"""A request to copy and paste, right for this very model: what `make serve` prints before it starts.

try_it(schema, prepared.requests, url="http://127.0.0.1:8080/predict")
# ["curl -s http://127.0.0.1:8080/predict -H 'Content-Type: application/json' -d '{\"records\": [{\"city\": \"Bern\"}]}'"]
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from serving.columns import fold, is_missing
from serving.files import write_atomic
from serving.schema import Feature, Schema

_JSON = "Content-Type: application/json"
_LONGEST = 2_000  # characters of a body that people still copy
_BODY = "try-it.json"
_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
}


def try_it(
    schema: Schema, rows: Sequence[Sequence[Any]], *, url: str, picture: Path | None = None, folder: Path | None = None
) -> list[str]:
    """Return lines for a POSIX shell, each a request of one row; none where there is no row to send.

    rows: as a client sends them, raw cells in the schema's order, or nested lists of an image. picture: a picture file, for
    models that take uploads. folder: where a body is written (try-it.json) that is too long to print; without one, no line is
    returned for it. Answers, and so errors, are the service's.
    """
    lines = [_upload(picture, url)] if schema.picture is not None and picture is not None else []
    if not rows:
        return lines
    row = rows[0]
    body = msgspec.json.encode({"records": [_record(schema, row)]} if schema.features else {"inputs": [row]}).decode()
    if len(body) <= _LONGEST:
        return [*lines, _posted(url, body)]
    if folder is None:
        return lines
    write_atomic(folder / _BODY, body.encode())
    return [*lines, _posted(url, f"@{(folder / _BODY).resolve()}")]  # copied into a shell that may be elsewhere


def _record(schema: Schema, row: Sequence[Any]) -> dict[str, Any]:
    """Return a row by name, as a client sends it: JSON's own true and false, and without what is missing."""
    cells = zip(schema.features, row, strict=True)
    return {feature.name: _truth(feature, cell) for feature, cell in cells if not is_missing(cell)}


def _truth(feature: Feature, cell: Any) -> Any:
    """Return a cell, as a boolean where its column writes booleans as texts such as True; yes and no stay what they are."""
    if feature.kind != "boolean" or not isinstance(cell, str):
        return cell
    return {"true": True, "false": False}.get(fold(cell), cell)


def _upload(picture: Path, url: str) -> str:
    kind = _TYPES.get(
        picture.suffix.lower(), "image/*"
    )  # the service looks at the bytes, once it is told that they are a picture
    return shlex.join(["curl", "-s", url, "-H", f"Content-Type: {kind}", "--data-binary", f"@{picture.resolve()}"])


def _posted(url: str, data: str) -> str:
    return shlex.join(["curl", "-s", url, "-H", _JSON, "-d", data])
