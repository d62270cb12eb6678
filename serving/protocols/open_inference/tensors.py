"""From one tensor of a request to its values: flat or nested JSON, or raw little-endian bytes.

How many values there must be is known from the shape, which the caller has checked against the model: the sizes of JSON and
bytes are compared with it before anything is built from them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.columns import TOO_LARGE
from serving.errors import InvalidInput
from serving.protocols.open_inference.wire import Tensor, refusal_of, shown
from serving.schema import Array

INTEGERS = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
NUMBERS = (*INTEGERS, "FP16", "FP32", "FP64")
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("u1"),
    **{name: np.dtype(f"<{'u' if name.startswith('U') else 'i'}{int(name.lstrip('UINT')) // 8}") for name in INTEGERS},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_NESTED, _EMPTY = re.compile(rb"\[\s*\["), re.compile(rb"\[\s*\]")
_PREFIX = 4  # bytes of the length in front of each element of BYTES


@dataclass(slots=True)
class Source:
    """A tensor, its place in the request, and its share of the bytes behind the JSON (None: the data is JSON)."""

    tensor: Tensor
    index: int
    raw: memoryview | None
    nested: bool = False  # whether its JSON turned out to be nested

    @property
    def field(self) -> str:
        """The path of the tensor."""
        return f"inputs[{self.index}]"

    def place(self, position: int) -> str:
        """Return the path of a value, counted in row-major order."""
        if not self.nested:
            return f"{self.field}.data[{position}]"
        return f"{self.field}.data" + "".join(f"[{int(i)}]" for i in np.unravel_index(position, tuple(self.tensor.shape)))


def sources_of(tensors: Sequence[Tensor], raw: memoryview) -> list[Source]:
    """Give each binary tensor its share of the bytes, in order; raise InvalidInput unless they are used up exactly."""
    found, start = [], 0
    for index, tensor in enumerate(tensors):
        size = _binary_size(tensor, index, len(raw) - start)
        found.append(Source(tensor, index, None if size is None else raw[start : start + size]))
        start += size or 0
    if start != len(raw):
        raise InvalidInput(
            f"{len(raw)} bytes follow the JSON, but the inputs' binary_data_size account for {start}", field="inputs"
        )
    return found


def _binary_size(tensor: Tensor, index: int, left: int) -> int | None:
    parameters = tensor.parameters or {}
    if any(name.startswith("shared_memory") for name in parameters):
        raise InvalidInput("shared memory is not offered; send the data", field=f"inputs[{index}].parameters")
    size, given = parameters.get("binary_data_size"), bytes(tensor.data) not in {b"", b"null"}
    if size is None:
        if not given:
            raise InvalidInput("has neither data nor parameters.binary_data_size", field=f"inputs[{index}]")
        return None
    field = f"inputs[{index}].parameters.binary_data_size"
    if given:
        raise InvalidInput("the tensor has data, too; send it as JSON or as bytes", field=field)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= left:
        raise InvalidInput(f"expected 0 to {left}, the bytes that are left behind the JSON, got {_cut(size)}", field=field)
    return size


def _cut(value: object) -> str:
    huge = isinstance(value, int) and value.bit_length() > 64  # Python refuses to print thousands of digits
    return "a huge number" if huge else shown(value)


def refuse_datatype(source: Source, accepted: Sequence[str]) -> None:
    """Raise InvalidInput unless a tensor's datatype is one that its input takes."""
    datatype = source.tensor.datatype
    if datatype in accepted:
        return
    hint = "; send FP32" if datatype == "BF16" else ""
    raise InvalidInput(f"{shown(datatype)} where {', '.join(accepted)} can be taken{hint}", field=f"{source.field}.datatype")


def numbers(source: Source, count: int) -> NDArray[Any]:
    """Return `count` values, flat: integers in the tensor's datatype, floats in it or as float64, booleans as 0 and 1."""
    datatype = source.tensor.datatype
    dtype = DTYPES[datatype]
    if source.raw is None:
        if datatype == "FP16":
            raise InvalidInput("FP16 travels in binary only; send FP32, or binary_data_size", field=f"{source.field}.datatype")
        try:
            # float64, as JSON's numbers are: what float32 cannot hold is then told from what is not finite.
            return np.array(_values(source, count), dtype=np.float64 if dtype.kind == "f" else dtype)
        except OverflowError as error:  # above UINT64, whose bounds msgspec cannot hold
            raise InvalidInput("the number does not fit into UINT64", field=f"{source.field}.data") from error
    if len(source.raw) != count * dtype.itemsize:
        raise InvalidInput(
            f"shape {source.tensor.shape} of {datatype} takes {count * dtype.itemsize} bytes, got {len(source.raw)}",
            field=f"{source.field}.parameters.binary_data_size",
        )
    values = np.frombuffer(source.raw, dtype=dtype)
    if datatype == "BOOL" and values.max(initial=0) > 1:
        position = int((values > 1).argmax())
        raise InvalidInput(f"expected 0 or 1, got {values[position]}", field=source.place(position))
    return values


def float32(source: Source, count: int) -> Array:
    """Return `count` finite values, flat and of their own memory; raise InvalidInput at the first that is none as float32."""
    given = numbers(source, count)
    if given.dtype.itemsize == 8:
        # By way of float64 also from integers: rounded twice, as the same number in JSON is.
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            values = given.astype(np.float64).astype(np.float32)
    else:
        values = given.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        position = int(finite.argmin())
        seen = float(given[position])
        raise InvalidInput(
            TOO_LARGE if np.isfinite(seen) else f"expected a finite number, got {seen}", field=source.place(position)
        )
    return values


def texts(source: Source, count: int) -> list[str]:
    """Return `count` elements of BYTES as texts; raise InvalidInput where their lengths do not add up, or are not UTF-8."""
    if source.raw is None:
        return _values(source, count)
    raw, start, found = bytes(source.raw), 0, []
    for position in range(count):
        length = int.from_bytes(raw[start : start + _PREFIX], "little")
        stop = start + _PREFIX + length
        if start + _PREFIX > len(raw) or stop > len(raw):
            raise InvalidInput(f"the element does not end within the tensor's {len(raw)} bytes", field=source.place(position))
        found.append(text_of(raw[start + _PREFIX : stop], source.place(position)))
        start = stop
    if start != len(raw):
        raise InvalidInput(f"{count} elements end after {start} of the tensor's {len(raw)} bytes", field=f"{source.field}.data")
    return found


def text_of(element: bytes, place: str) -> str:
    """Return an element of BYTES as a text."""
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the text is not UTF-8 (byte {error.start})", field=place) from error


def _values(source: Source, count: int) -> list[Any]:
    """Return `count` values of JSON, flat; a shape and data that do not agree are found before the list is built."""
    tensor, field = source.tensor, f"{source.field}.data"
    data = bytes(tensor.data)
    found = _count_of(data, tensor.datatype)
    if found != count and data[:1] == b"[":
        raise InvalidInput(f"shape {tensor.shape} takes {count} values, got {found}", field=field)
    source.nested = len(tensor.shape) > 1 and _NESTED.match(data) is not None
    try:
        values: list[Any] = _decoder(tensor.datatype, len(tensor.shape) if source.nested else 1).decode(data)
    except ValueError as error:
        raise refusal_of(error, data, field) from error
    for width in tensor.shape[1:] if source.nested else ():
        if any(len(part) != width for part in values):
            raise InvalidInput(f"its nesting does not fit shape {tensor.shape}", field=field)
        values = list(chain.from_iterable(values))
    if len(values) != count:
        raise InvalidInput(f"shape {tensor.shape} takes {count} values, got {len(values)}", field=field)
    return values


def _count_of(data: bytes, datatype: str) -> int:
    """Count the values of a list, nested or flat, without building them."""
    if datatype == "BYTES":  # texts hold commas
        return data.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') // 2
    return 0 if _EMPTY.match(data) else data.count(b",") + 1


@lru_cache(maxsize=128)
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    """Return a parser of lists, `depth` deep, of a datatype's values within its bounds."""
    kind: Any = float
    if datatype in {"BOOL", "BYTES"}:
        kind = bool if datatype == "BOOL" else str
    elif datatype in INTEGERS:
        bounds = np.iinfo(DTYPES[datatype])
        most = None if datatype == "UINT64" else int(bounds.max)
        kind = Annotated[int, msgspec.Meta(ge=int(bounds.min), le=most)]
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)
