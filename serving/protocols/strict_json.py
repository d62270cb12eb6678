"""JSON that means one thing only: what parsers pass over in silence, or choke on, is refused with its place.

    decode(body, limits)         # a body of any shape, as Python objects
    check_size(body, limits)     # before a parser of one's own: commas bound the values
    check_depth(body, limits)    # and brackets the nesting
    keys_of(body)                # how many keys all objects have together: more than were parsed, and one is there twice
    repeated(body)               # the first key that an object has twice, with its path
    malformed(body, error)       # why a body is no JSON, in the words of somebody who sent it by mistake

What every request pays for is a pass in C over the bytes; the search for a path runs only when something is known to be wrong.
No input makes these functions raise anything but InvalidInput and TooLarge.
"""

import json
import math
import re
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput, TooLarge
from serving.facts import Limits

_LONGEST = 100  # characters of a client's own key that an answer repeats
_CHUNK = 2**20  # bytes whose nesting is counted at once
_FEW = 100  # keys that are compared with each other
_BAD_BYTE = re.compile(r"\(byte (?P<position>\d+)\)$")
_CONSTANT = re.compile(rb"NaN|Infinity")
# A text, and the colon behind it if it is a key. Possessive: linear in whatever bytes there are.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
_KEY = re.compile(rb'\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:', re.DOTALL)
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_any = msgspec.json.Decoder()


def decode(body: bytes, limits: Limits, *, usage: str = "send a JSON object") -> Any:
    """Return a document as Python objects; raise InvalidInput, with the path where there is one, or TooLarge.

    usage: what to send instead, for messages.
    """
    check_size(body, limits)
    check_depth(body, limits)
    try:
        parsed = _any.decode(body)
        if _more_keys(body, parsed) and (fault := repeated(body)):
            raise fault
    except RecursionError:
        raise too_deep(limits) from None
    except MemoryError:
        raise TooLarge("the body needs more memory than there is; send fewer rows in a request") from None
    except msgspec.ValidationError as error:
        raise _out_of_range(body) from error
    except ValueError as error:  # msgspec.DecodeError, or UnicodeDecodeError out of a key
        raise malformed(body, error, usage=usage) from error
    return parsed


def check_size(body: bytes, limits: Limits, *, width: int = 1, field: str | None = None) -> None:
    """Raise TooLarge where a body may hold more values than allowed, judged before any of them is made.

    width: values that one object stands for, keys that are absent included. Bounds are from above: each value but the first
    has a comma before it, each object a brace. Texts of nothing but commas could be refused for no reason.
    """
    if len(body) * width <= 2 * limits.values:  # a value is two bytes with its comma, and so is the shortest object
        return
    if body.count(b",") >= limits.values or body.count(b"{") * width > limits.values + width:
        raise TooLarge(
            f"the body holds more than the {limits.values:,} values of one request; send fewer rows in a request", field=field
        )


def check_depth(body: bytes, limits: Limits, *, field: str | None = None) -> None:
    """Raise InvalidInput where values are nested deeper than allowed, before a parser follows them."""
    if body.count(b"[") + body.count(b"{") <= limits.depth:
        return
    inside, level = np.False_, 0
    values = _unescaped(body)
    for start in range(0, len(values), _CHUNK):
        texts, steps = _marks(values[start : start + _CHUNK], inside)
        levels = np.cumsum(steps, dtype=np.int32) + level
        if levels.max() > limits.depth:
            at = start + int(np.argmax(levels > limits.depth))
            raise too_deep(limits, field or _path_to(body, at))
        inside, level = texts[-1], int(levels[-1])


def too_deep(limits: Limits, field: str | None = None) -> InvalidInput:
    """Return the refusal of values that are nested too deeply."""
    return InvalidInput(f"values are nested too deeply; {limits.depth} levels are the limit", field=field)


def keys_of(body: bytes) -> int:
    """Return the number of keys of all objects of a valid document."""
    found = _TEXT.findall(body)
    return len(found) - found.count(b"")


def repeated(body: bytes) -> InvalidInput | None:
    """Return the refusal of the first object that has a key twice; None: there is none, or the body is no JSON."""
    try:
        return _first_fault(json.loads(body, parse_int=float, object_pairs_hook=_object))
    except (ValueError, RecursionError):
        return None


def malformed(body: bytes, error: ValueError, *, usage: str, mend: str = "send finite numbers") -> InvalidInput:
    """Return why a body is no JSON. mend: what to send in the place of NaN."""
    if not body.strip():
        return InvalidInput(f"the body is empty; {usage}")
    if body.startswith(b"\xef\xbb\xbf"):
        return InvalidInput("the body starts with a byte order mark; send UTF-8 without one")
    try:
        body.decode()
    except UnicodeDecodeError as reason:
        return InvalidInput(f"the body is not UTF-8 (byte {reason.start}); send JSON in UTF-8")
    if b"\0" in body[:4]:
        return InvalidInput("the body looks like UTF-16 or UTF-32; send JSON in UTF-8")
    text = str(error).removeprefix("JSON is malformed: ")
    at = _BAD_BYTE.search(text)
    field = _path_to(body, int(at["position"])) if at else None
    if at and _CONSTANT.match(body, int(at["position"])):
        place = "" if field else f" (byte {at['position']})"
        return InvalidInput(f"JSON has neither NaN nor Infinity{place}; {mend}", field=field)
    return InvalidInput(f"the body is not JSON: {text[:1].lower()}{text[1:]}", field=field)


def _path_to(body: bytes, position: int) -> str | None:
    """Return the path of the value at a byte, up to which the body is JSON; None: the body itself."""
    values = _unescaped(body[:position])
    texts, steps = _marks(values, np.False_)
    levels = np.cumsum(steps, dtype=np.int32)
    commas = (values == ord(",")) & ~texts
    path = ""
    for level in range(1, int(levels[-1]) + 1 if len(levels) else 1):
        start = int(np.flatnonzero((steps == 1) & (levels == level))[-1])
        before = np.flatnonzero(commas[start:] & (levels[start:] == level))
        if body[start] == ord("["):
            path += f"[{len(before)}]"
        elif key := _KEY.match(body, start + 1 + (int(before[-1]) if len(before) else 0)):
            path += ("." if path else "") + _cut(json.loads(key[1]))
    return path or None


def _unescaped(body: bytes) -> NDArray[np.uint8]:
    """Return bytes, as many as there were, in which each quote begins or ends a text."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return np.frombuffer(body, dtype=np.uint8)


def _marks(values: NDArray[np.uint8], inside: np.bool) -> tuple[NDArray[np.bool], NDArray[np.int8]]:
    """Return which bytes are within texts, and 1 for each bracket that opens, -1 for each that closes."""
    texts = np.logical_xor.accumulate(values == ord('"')) ^ inside
    steps = _STEPS[values]
    steps[texts] = 0
    return texts, steps


def _more_keys(body: bytes, parsed: Any) -> bool:
    """Return whether a document has more keys than what was parsed of it."""
    keys = keys_of(body)
    if keys < _FEW and len({text.group() for text in _TEXT.finditer(body) if text[1]}) == keys and b"\\" not in body:
        return False  # all of them differ, as those of most requests do
    return keys != _keys_in(parsed)


def _keys_in(value: Any) -> int:
    keys, stack = 0, [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            keys += len(value)
            value = value.values()
        if not _NESTED.isdisjoint(map(type, value)):
            stack += [child for child in value if type(child) in _NESTED]
    return keys


class _Fault:
    """A value that is refused; key: of an object, the one that is there twice."""

    def __init__(self, message: str, key: str | None = None) -> None:
        self.message, self.key = message, key


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        return _Fault("the key is there twice; send it once", next(key for key in keys if keys.count(key) > 1))
    return {key: child for key, child in pairs if type(child) in _FOLLOWED}


def _out_of_range(body: bytes) -> InvalidInput:
    """Return the refusal of the first number that Python cannot read."""

    def number(text: str) -> Any:
        return _Fault("the number is too large") if len(text) > 4300 or math.isinf(float(text)) else None

    tree = json.loads(body, parse_int=number, parse_float=number, object_pairs_hook=_object)
    return _first_fault(tree) or InvalidInput("the body holds a number that is too large")


def _first_fault(tree: Any) -> InvalidInput | None:
    """Return the first fault in the order of the document, at most as many calls deep as the document is."""

    def find(value: Any) -> tuple[list[str], str] | None:
        if isinstance(value, _Fault):
            return [] if value.key is None else [f".{_cut(value.key)}"], value.message
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            if type(child) in _FOLLOWED and (found := find(child)):
                found[0].append(f"[{key}]" if isinstance(value, list) else f".{_cut(str(key))}")
                return found
        return None

    found = find(tree) if type(tree) in _FOLLOWED else None
    return InvalidInput(found[1], field="".join(reversed(found[0])).removeprefix(".") or None) if found else None


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[:_LONGEST] + "…"


_NESTED = {dict, list}
_FOLLOWED = {dict, list, _Fault}
