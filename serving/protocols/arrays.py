"""Rows as an .npy file, as `numpy.save` writes it: the smallest and fastest way to send many numbers.

    curl --data-binary @rows.npy -H 'Content-Type: application/x-npy' …

The header is matched by a pattern and never evaluated, the number of bytes that it promises is compared with those that came
before anything is made of them, and what would be a pickle is refused. Shape: (batch, *schema.shape), or schema.shape for one
row. Floats, integers and booleans of any width and byte order, in C or Fortran order, become float32.
"""

import re
from math import prod

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput, UnsupportedMedia
from serving.facts import ModelFacts
from serving.protocols.rows import check_count, check_finite
from serving.schema import Array

MAGIC = b"\x93NUMPY"
FIELD = "inputs"

_LENGTHS = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}  # version -> bytes of the header's length, little-endian
_LONGEST_HEADER = 10_000
_KINDS = {"descr": "text", "fortran_order": "flag", "shape": "shape"}
_HEADER = re.compile(r"\s*+\{(?P<items>[^{}]*+)\}\s*+")
_ITEM = re.compile(
    r"""\s*+(?P<quote>['"])(?P<key>\w{1,20})(?P=quote)\s*+:\s*+"""
    r"""(?:'(?P<one>[^'\\]{0,40})'|"(?P<two>[^"\\]{0,40})"|(?P<flag>True|False)|\((?P<shape>[\d\s,]{0,400})\))\s*+(?:,\s*+|$)"""
)
_DESCR = re.compile(r"[<>=|]?(?:f[248]|[iu][1248]|b1|\?)")  # wider floats differ from machine to machine
_DIMENSION = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)


def rows_of_npy(body: bytes, model: ModelFacts) -> Array:
    """Return (batch, *schema.shape) float32, a copy of its own.

    Raises UnsupportedMedia for a model whose rows are not plain numbers, TooLarge for too many values, InvalidInput with the
    place of the first value that does not fit.
    """
    schema = model.schema
    if not schema.plain:
        raise UnsupportedMedia(
            "this model takes cells that are not all numbers, which an array does not hold; send JSON or text/csv"
        )
    dtype, fortran, shape, start = _header(body)
    expected = " x ".join(map(str, schema.shape))
    rows = shape[1:] if len(shape) == len(schema.shape) + 1 else shape
    if rows != schema.shape:
        raise InvalidInput(f"expected an array of shape (batch, {expected}) or ({expected}), got {_shown(shape)}", field=FIELD)
    batch = shape[0] if len(shape) > len(rows) else 1
    check_count(batch, schema, model.limits, FIELD)
    promised, sent = prod(shape) * dtype.itemsize, len(body) - start
    if promised != sent:
        raise InvalidInput(f"the header promises {promised:,} bytes of {dtype} in the shape {_shown(shape)}, and {sent:,} came")
    values: NDArray[np.generic] = np.frombuffer(body, dtype=dtype, offset=start)
    if dtype.kind == "b":
        values = values.view(np.uint8) != 0  # whatever a byte that is neither 0 nor 1 would be
    elif dtype.kind in "iu" and dtype.itemsize == 8:
        values = values.astype(np.float64)  # rounded twice, as the same number in JSON is
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        found: Array = values.reshape(shape, order="F" if fortran else "C").astype(np.float32, order="C")
    found = found.reshape(batch, *schema.shape)
    check_finite(found, schema, FIELD)
    return found


def _header(body: bytes) -> tuple[np.dtype[np.generic], bool, tuple[int, ...], int]:
    """Return the type, whether the order is Fortran's, the shape, and where the values start."""
    if not body.startswith(MAGIC):
        raise InvalidInput("the body is no .npy file; send what numpy.save(file, rows, allow_pickle=False) writes")
    width = _LENGTHS.get(body[6:8])
    if width is None:
        raise InvalidInput("the .npy file is of a version that is not known; versions 1.0, 2.0 and 3.0 are read")
    start = 8 + width + int.from_bytes(body[8 : 8 + width], "little")
    if start > min(len(body), _LONGEST_HEADER):
        raise InvalidInput(f"the header of the .npy file is cut off, or longer than {_LONGEST_HEADER:,} bytes")
    items = _items(body[8 + width : start].decode("latin-1"))
    if {key: kind for key, (kind, _) in items.items()} != _KINDS:
        raise InvalidInput("the header of the .npy file is not understood; arrays of structures are not read")
    descr, order, shape = (items[key][1] for key in _KINDS)
    lengths = [text.strip() for text in shape.removesuffix(",").split(",")] if shape.strip() else []
    if not all(map(_DIMENSION.fullmatch, lengths)):
        raise InvalidInput(f"the .npy file has no shape that could be: ({shape[:100]})")
    return _dtype(descr), order == "True", tuple(map(int, lengths)), start


def _items(header: str) -> dict[str, tuple[str, str]]:
    """Return what a header that is a dictionary of texts, flags and tuples says, each with its kind; else nothing."""
    whole, found, at = _HEADER.fullmatch(header), dict[str, tuple[str, str]](), 0
    content = whole["items"] if whole else ""
    while at < len(content.rstrip()):
        item = _ITEM.match(content, at)
        if item is None or item["key"] in found:
            return {}
        kind = str(item.lastgroup)
        found[item["key"]] = "text" if kind in {"one", "two"} else kind, item[kind]
        at = item.end()
    return found


def _dtype(descr: str) -> np.dtype[np.generic]:
    if _DESCR.fullmatch(descr):
        try:
            return np.dtype(descr)
        except TypeError:  # a width that there is not
            pass
    reason = "objects travel as pickles, which are never read" if descr.endswith("O") else "send floats, integers or booleans"
    raise InvalidInput(f"the .npy file has values of type {descr!r}; {reason}")


def _shown(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape[:8]))}{', …' if len(shape) > 8 else ''})"
