"""Uploaded pictures: `POST /predict` with a picture as the body, or with files as a browser's form or `curl -F` sends them.

curl --data-binary @digit.png -H 'Content-Type: image/png' …     one row
curl -F a=@3.png -F b=@7.jpg …                                   a row for each file, in that order
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import numpy as np
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from serving.errors import InvalidInput, TooLarge, UnsupportedMedia
from serving.facts import Limits
from serving.images import MOST_EFFORT, TooManyPixels, decode, effort_of, looks_like_picture
from serving.protocols.rows import check_count
from serving.schema import Array, Schema

FIELD = "files"  # the first part of a picture's place, as in files[2]

_FORM = "multipart/form-data"
_MOST_PARTS = 1000
_LONGEST = 100  # characters of a client's own name that an answer repeats
USAGE = "send a picture's bytes with its Content-Type, such as image/png, or files as multipart/form-data"


def is_upload(content_type: str) -> bool:
    """Return whether a request of this Content-Type holds pictures."""
    return content_type[: len(_FORM)].lower().startswith(("image/", _FORM))


def refuse_untyped(body: bytes, content_type: str, schema: Schema) -> None:
    """Raise InvalidInput for a picture whose Content-Type is another one, such as the one that curl sends by itself."""
    if schema.picture is not None and looks_like_picture(body):
        seen = f"with the Content-Type {content_type[:_LONGEST]}" if content_type else "without a Content-Type"
        raise InvalidInput(
            f"the body is a picture, sent {seen}, so it is not read as one; {USAGE}: "
            "curl -H 'Content-Type: image/png' --data-binary @picture.png"
        )


def rows_of(body: bytes, content_type: str, schema: Schema, limits: Limits) -> Array:
    """Return (pictures, *schema.shape) float32.

    Raises UnsupportedMedia for a model that takes no pictures, TooLarge for too many pixels or pictures, InvalidInput for a
    file that is no picture; with its place in the form.
    """
    media_type, options = parse_options_header(content_type)
    media_type = media_type.lower()
    if schema.picture is None:
        rows = "rows of a table" if schema.kind == "table" else "arrays of numbers"
        usage = '{"records": [{"feature": value, …}, …]}' if schema.features else '{"inputs": [row, …]}'
        raise UnsupportedMedia(
            f"this model takes {rows} as JSON, not {media_type[:_LONGEST]}: send {usage}; GET /info describes a row"
        )
    height, width = schema.shape[-2:]
    read = partial(decode, mode=schema.picture, size=(height, width), most_pixels=limits.pixels)
    if media_type != _FORM:
        with _placed(None):
            return read(body)[np.newaxis]
    files = _files(body, options)
    check_count(len(files), schema, limits, FIELD)
    _check_sizes(files, limits)
    found = []
    # One by one: the pixels of one picture are in memory at a time, whatever the number of files.
    for index, payload in enumerate(files):
        with _placed(index):
            found.append(read(payload))
    return np.stack(found)


def _check_sizes(files: list[bytes], limits: Limits) -> None:
    """Raise TooLarge for pictures that are too large together: a few kB can hold more than a worker decodes in a minute."""
    total, most = 0, MOST_EFFORT * limits.pixels
    for index, payload in enumerate(files):
        with _placed(index):
            total += effort_of(payload, most_pixels=limits.pixels)
            if total > most:
                raise TooLarge(
                    f"the pictures up to this one take as long to read as {total:,} pixels of plain JPEG, "
                    f"and {most:,} are the limit of a request; send fewer in a request, or smaller ones"
                )


@contextmanager
def _placed(index: int | None) -> Iterator[None]:
    """Give refusals the place of a file in its form; None: the picture is the body."""
    field = None if index is None else f"{FIELD}[{index}]"
    try:
        yield
    except (TooManyPixels, TooLarge) as error:
        raise TooLarge(str(error), field=field) from error
    except InvalidInput as error:
        raise InvalidInput(str(error), field=field) from error


def _files(body: bytes, options: dict[str, str]) -> list[bytes]:
    """Return the content of each file of a form, in the order sent."""
    # The body is in memory already: parts stay there, too, instead of going to a temporary file.
    parser = MultiPartParser(
        stream_factory=lambda *_, **__: io.BytesIO(),
        max_form_parts=_MOST_PARTS,
        cls=list,  # type: ignore[arg-type]  # pairs in the order sent, which a MultiDict loses
    )
    try:
        texts, files = parser.parse(io.BytesIO(body), options.get("boundary", "").encode("ascii"), len(body))
    except RequestEntityTooLarge as error:
        raise TooLarge(f"the form holds more than {_MOST_PARTS} files; send fewer in a request", field=FIELD) from error
    except ValueError as error:  # no boundary, or cut
        raise InvalidInput(f"the body is no whole multipart/form-data; {USAGE}") from error
    for name, _ in cast("list[tuple[str, str]]", texts):
        raise InvalidInput(
            "is a text, not a file; a file is sent as in curl -F picture=@digit.png", field=str(name or "")[:_LONGEST] or None
        )
    if not files:
        raise InvalidInput(f"the form holds no file; {USAGE}")
    return [file.read() for _, file in cast("list[tuple[str, FileStorage]]", files)]
