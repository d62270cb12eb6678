"""The envelope of a request: where its JSON ends, and what that JSON holds, in types that msgspec checks while it parses."""

import re
from typing import Annotated, Any

import msgspec

from serving.errors import InvalidInput, Refusal
from serving.exchange import Request
from serving.facts import Limits
from serving.protocols import strict_json

HEADER_LENGTH = "Inference-Header-Content-Length"
USAGE = 'send {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}, …]}'
_LONGEST = 100  # characters of a client's own words that an answer repeats

_VENDOR = re.compile(
    r"(?P<prefix>application/vnd\.(?:sagemaker-triton|vertex-ai-triton)\.binary\+json)(?:\s*;\s*json-header-size=(?P<size>.*))?",
    re.IGNORECASE,
)
_MEND = "binary tensors have NaN for what is missing"
_GOES_ON = re.compile("^the body is not UTF-8|^the body is not JSON: trailing")  # as bytes behind the JSON make it
# How msgspec 0.22 puts it; each with " - at `$.path`" behind it when the value is not the text itself.
_WRONG_TYPE = re.compile(r"^Expected `(?P<expected>[^`]*)`, got `(?P<got>\w+)`$")
_BOUND = re.compile(r"^Expected `int` (?P<bound>[<>]= -?\d+)$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_KINDS = {
    "float": "a number",
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}

_NO_DATA = msgspec.Raw()
Scalar = str | bool | int | float | None
Dimension = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class Tensor(msgspec.Struct):
    """An input. `data`: its JSON, unparsed until the datatype says what it must be; empty where the data is binary."""

    name: str
    shape: list[Dimension]
    datatype: str
    parameters: dict[str, Scalar] | None = None
    data: msgspec.Raw = _NO_DATA


class Wanted(msgspec.Struct):
    """An output that the client asks for."""

    name: str
    parameters: dict[str, Scalar] | None = None


class Asked(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Scalar] | None = None
    outputs: list[Wanted] | None = None


class _KnownTensor(Tensor, forbid_unknown_fields=True):
    pass


class _KnownWanted(Wanted, forbid_unknown_fields=True):
    pass


class _Known(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_KnownTensor]
    id: str | None = None
    parameters: dict[str, Scalar] | None = None
    outputs: list[_KnownWanted] | None = None


_known, _any = msgspec.json.Decoder(_Known), msgspec.json.Decoder(Asked)


def split(request: Request) -> tuple[int | None, str | None]:
    """Return how many bytes of the body are JSON (None: all of them), and the vendor's content type where that says so.

    Raises InvalidInput for a length that is no number, lies outside the body, or is there twice with two values.
    """
    given = request.header(HEADER_LENGTH.lower())
    found = _VENDOR.fullmatch(kind.strip()) if (kind := request.content_type).startswith("application/vnd.") else None
    if found is None:
        return (None if given is None else _length(given, request.body, HEADER_LENGTH)), None
    vendor = found["prefix"].lower()
    if found["size"] is None:
        raise InvalidInput(f"this content type says where the JSON ends: {vendor};json-header-size=N", field="Content-Type")
    length = _length(found["size"].strip(' "'), request.body, "json-header-size")
    if given is not None and _length(given, request.body, HEADER_LENGTH) != length:
        raise InvalidInput(f"json-header-size is {length}, {HEADER_LENGTH} is {given}; send one of them", field="Content-Type")
    return length, vendor


def _length(text: str, body: bytes, field: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) > len(body):
        raise InvalidInput(f"expected the length of the JSON, 0 to {len(body)} bytes, got {shown(text)}", field=field)
    return int(text)


def read(text: bytes, *, limits: Limits) -> _Known | Asked:
    """Parse the JSON of a request; raise InvalidInput with the path of what does not fit, is there twice, or is too deep.

    Keys that the protocol does not have are ignored, as Triton does.
    """
    try:
        asked: _Known | Asked = _known.decode(text)
    except (ValueError, RecursionError):  # a fault, or a key that nobody knows: how deep it all is matters only here
        strict_json.check_depth(text, limits)
        try:
            asked = _any.decode(text)
        except ValueError as error:
            raise refusal_of(error, text, "") from error
    if strict_json.keys_of(text) != _keys_in(asked):  # one is there twice, unknown, or null
        strict_json.check_size(text, limits)
        if fault := strict_json.repeated(text):
            raise fault
    return asked


def _keys_in(asked: _Known | Asked) -> int:
    """Return how many keys a request has, those left out that are unknown or null."""
    keys = 1 + sum(value is not None for value in (asked.id, asked.parameters, asked.outputs)) + len(asked.parameters or ())
    for tensor in asked.inputs:
        keys += 3 + (tensor.data is not _NO_DATA)
        keys += 0 if tensor.parameters is None else 1 + len(tensor.parameters)
    for wanted in asked.outputs or ():
        keys += 1 if wanted.parameters is None else 2 + len(wanted.parameters)
    return keys


def refusal_of(error: ValueError, text: bytes, prefix: str) -> Refusal:
    """Turn an error of msgspec about `text`, which stands at the path `prefix` of a request, into ours."""
    if not isinstance(error, msgspec.ValidationError):
        found = strict_json.malformed(text, error, usage=USAGE, mend=_MEND, prefix=prefix)
        behind = f"; where binary tensors follow, {HEADER_LENGTH} says where the JSON ends"
        return InvalidInput(f"{found}{behind}", field=found.field) if _GOES_ON.search(str(found)) else found
    message, separator, path = str(error).rpartition(" - at `$")
    if not separator:
        message, path = str(error), ""
    path = (prefix + path.removesuffix("`")).removeprefix(".")
    if match := _MISSING.match(message):
        return InvalidInput(f"required, but missing; {USAGE}", field=f"{path}.{match['name']}".removeprefix("."))
    if match := _WRONG_TYPE.match(message):
        kinds = [_KINDS[kind] for kind in match["expected"].split(" | ")]
        wanted, got = " or ".join(kinds), _KINDS[match["got"]]
        return InvalidInput(
            f"expected {wanted}, got {got}" if path else f"the body must be {wanted}; {USAGE}", field=path or None
        )
    if match := _BOUND.match(message):
        return InvalidInput(f"expected an integer {match['bound']}", field=path or None)
    return InvalidInput("the number is too large" if message.endswith("out of range") else "does not fit", field=path or None)


def shown(value: Any) -> str:
    """Return a client's own value as an answer repeats it: quoted where it is a text, cut where it is long."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
