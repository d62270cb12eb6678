"""A look into an ONNX file before a runtime parses it: a bundle's model brings its weights along, and points nowhere.

An ONNX tensor may name another file as the place of its data, by any path; a runtime that follows it reads whatever the service
may read. Only the few message types on the way to a tensor are followed here (field numbers of onnx.proto3), and nothing of
their content is interpreted.
"""

from collections.abc import Iterator

from serving.errors import BundleError

# Message type -> field number -> type of the message in that field.
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_DEEPEST = 100  # graphs within graphs
_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5  # wire types


def refuse_external_data(payload: bytes, name: str) -> None:
    """Raise BundleError for an ONNX file whose weights lie in another file, or that is none."""
    waiting = [(memoryview(payload), "model", 0)]
    while waiting:
        message, kind, depth = waiting.pop()
        if depth > _DEEPEST:
            raise BundleError(f"{name}: graphs are nested more than {_DEEPEST} deep; export the run again")
        for field, value in _fields(message, name):
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value)):
                raise BundleError(
                    f"{name}: a tensor's data lies in another file, where no digest covers it; export the run again"
                )
            inner = _MESSAGES[kind].get(field)
            if inner is not None and isinstance(value, memoryview):
                waiting.append((value, inner, depth + 1))


def _fields(message: memoryview, name: str) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the number and the value of each field; fixed numbers as 0, since none is asked about."""
    at = 0
    try:
        while at < len(message):
            tag, at = _varint(message, at)
            field, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                value, at = _varint(message, at)
                yield field, value
            elif wire == _BYTES:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise IndexError
                yield field, message[at : at + length]
                at += length
            elif wire in {_LONG, _SHORT}:
                at += 8 if wire == _LONG else 4
                yield field, 0
            else:
                raise IndexError
    except IndexError:
        raise BundleError(f"{name}: not an ONNX file; export the run again") from None


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number and the place behind it; raises IndexError where the message ends within it, or where it never does."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError
