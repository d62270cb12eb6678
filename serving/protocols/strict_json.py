"""JSON that means one thing only: what parsers pass over in silence, or choke on, is refused with its place.

    decode(body, limits)         # a body of any shape, as Python objects
    check_size(body, limits)     # before a parser of one's own: commas bound the values
    check_depth(body, limits)    # and brackets the nesting
    keys_of(body)                # how many keys all objects have together: more than were parsed, and one is there twice
    has_keys(body, 1)            # whether they are so many, mostly found without a look at each
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

from serving.errors import InvalidInput, TooLarge
from serving.facts import Limits
from serving.protocols.json_places import LONGEST_PATH, half_pair, path_to, too_deep_at
from serving.protocols.words import cut

_FEW = 100  # keys that are compared with each other
_SEARCHED = 256  # bytes that are searched in the time in which one is found; counting looks at each alone, and takes longer
_BAD_BYTE = re.compile(r"\(byte (?P<position>\d+)\)$")
_CONSTANT = re.compile(rb"NaN|Infinity")
# A text, and the colon behind it if it is a key. Possessive: linear in whatever bytes there are.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
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
    # A value is two bytes with its comma, and so is the shortest object: few bytes need not be counted.
    many = len(body) > 2 * limits.values and body.count(b",") >= limits.values
    wide = len(body) * width > 2 * limits.values and body.count(b"{") * width > limits.values + width
    if many or wide:
        raise TooLarge(
            f"the body holds more than the {limits.values:,} values of one request; send fewer rows in a request", field=field
        )


def check_depth(body: bytes, limits: Limits, *, field: str | None = None) -> None:
    """Raise InvalidInput where values are nested deeper than allowed, before a parser follows them."""
    at = too_deep_at(body, limits.depth)
    if at is not None:
        raise too_deep(limits, field or path_to(body, at))


def too_deep(limits: Limits, field: str | None = None) -> InvalidInput:
    """Return the refusal of values that are nested too deeply."""
    return InvalidInput(f"values are nested too deeply; {limits.depth} levels are the limit", field=field)


def has_keys(body: bytes, count: int) -> bool:
    """Return whether all objects of a valid document have that many keys together; keys have two quotes each."""
    return _has_quotes(body, 2 * count) or keys_of(body) == count


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


def malformed(
    body: bytes, error: ValueError, *, usage: str, mend: str = "send finite numbers", prefix: str = ""
) -> InvalidInput:
    """Return why a body is no JSON. mend: what to send in the place of NaN. prefix: the path of the body, where it has one."""
    if reason := _no_text(body, usage):
        return InvalidInput(reason, field=prefix or None)
    text = str(error).removeprefix("JSON is malformed: ")
    if ("surrogate" in text or "truncated" in text) and (half := half_pair(body)) is not None:
        message = "the text holds half of a surrogate pair, which is no character; send whole characters"
        return InvalidInput(message, field=path_to(body, half, prefix=prefix))
    at = _BAD_BYTE.search(text)
    position = int(at["position"]) if at else None
    field = (prefix or None) if position is None else path_to(body, position, prefix=prefix)
    if position is not None and _CONSTANT.match(body, position):
        place = "" if field else f" (byte {position})"
        return InvalidInput(f"JSON has neither NaN nor Infinity{place}; {mend}", field=field)
    hint = "" if field else f"; {usage}"
    return InvalidInput(f"the body is not JSON: {text[:1].lower()}{text[1:]}{hint}", field=field)


def _no_text(body: bytes, usage: str) -> str | None:
    """Say why a body is no text, if so."""
    if not body.strip():
        return f"the body is empty; {usage}"
    if body.startswith(b"\xef\xbb\xbf"):
        return "the body starts with a byte order mark; send UTF-8 without one"
    try:
        body.decode()
    except UnicodeDecodeError as reason:
        return f"the body is not UTF-8 (byte {reason.start}); send JSON in UTF-8"
    return "the body looks like UTF-16 or UTF-32; send JSON in UTF-8" if b"\0" in body[:4] else None


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
        return _Fault("the key is there twice; send it once", _twice(pairs))
    return {key: child for key, child in pairs if type(child) in _FOLLOWED}


def _twice(pairs: list[tuple[str, Any]]) -> str:
    """Return the first key that is there again."""
    left = dict(pairs)
    again = {key for key, _ in pairs if left.pop(key, _Fault) is _Fault}
    return next(key for key, _ in pairs if key in again)


def _out_of_range(body: bytes) -> InvalidInput:
    """Return the refusal of the first number that Python cannot read."""

    def number(text: str) -> Any:
        return _Fault("the number is too large") if len(text) > 4300 or math.isinf(float(text)) else None

    try:
        tree = json.loads(body, parse_int=number, parse_float=number, object_pairs_hook=_object, strict=False)
    except (ValueError, RecursionError):  # something else is wrong behind it
        tree = None
    return _first_fault(tree) or InvalidInput("the body holds a number that is too large")


def _first_fault(tree: Any) -> InvalidInput | None:
    """Return the first fault in the order of the document, at most as many calls deep as the document is."""

    def find(value: Any) -> tuple[list[str], str] | None:
        if isinstance(value, _Fault):
            return [] if value.key is None else [f".{cut(value.key)}"], value.message
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            if type(child) in _FOLLOWED and (found := find(child)):
                found[0].append(f"[{key}]" if isinstance(value, list) else f".{cut(str(key))}")
                return found
        return None

    found = find(tree) if type(tree) in _FOLLOWED else None
    if found is None:
        return None
    return InvalidInput(found[1], field=cut("".join(reversed(found[0])).removeprefix("."), LONGEST_PATH) or None)


_NESTED = {dict, list}
_FOLLOWED = {dict, list, _Fault}


def _has_quotes(body: bytes, count: int) -> bool:
    if len(body) < _SEARCHED * count:
        return body.count(b'"') == count
    at = -1
    for _ in range(count):
        at = body.find(b'"', at + 1)
        if at < 0:
            return False
    return body.find(b'"', at + 1) < 0
