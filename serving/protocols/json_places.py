"""Where in a body of JSON a byte stands, without parsing it: brackets, commas and quotes are counted by numpy.

    path_to(body, 17)            # a[1].b[1]
    half_pair(body)              # where a text holds half of a surrogate pair
    too_deep_at(body, 32)        # where values are nested deeper

Every function is linear in the bytes, whatever these are, and raises nothing.
"""

import json
import re

import numpy as np
from numpy.typing import NDArray

from serving.protocols.words import cut

LONGEST_PATH = 200  # characters
DEEPEST = 32  # levels of a path that are written out
_CHUNK = 2**20  # bytes whose nesting is counted at once
_KEY = re.compile(rb'\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:', re.DOTALL)
_PAIR_OR_HALF = re.compile(rb"\\u[dD][89abAB][\da-fA-F]{2}(?P<low>\\u[dD][c-fC-F][\da-fA-F]{2})?|\\u[dD][c-fC-F][\da-fA-F]{2}")
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


def path_to(body: bytes, position: int, *, prefix: str = "") -> str | None:
    """Return the path of the value at a byte, up to which the body is JSON; None: the body itself.

    prefix: the path of the body, where that is a part of a larger one. At most DEEPEST levels and LONGEST_PATH characters.
    """
    values = _unescaped(body[:position])
    texts, steps = _marks(values, np.False_)
    levels = np.cumsum(steps, dtype=np.int32)
    deepest = min(int(levels[-1]), DEEPEST) if len(levels) else 0
    opened = np.flatnonzero(steps == 1)
    opened = opened[(levels[opened] > 0) & (levels[opened] <= deepest)]
    last = np.zeros(max(deepest, 0) + 1, dtype=np.int64)
    last[levels[opened]] = opened  # of several at one level, the last one stays: the only one that is still open
    starts = [*last.tolist(), position]
    path = prefix
    for level in range(1, deepest + 1):
        # What stands between two brackets that are both still open is of the outer one's level, or closed again.
        start, stop = starts[level], starts[level + 1]
        commas = (values[start:stop] == ord(",")) & ~texts[start:stop] & (levels[start:stop] == level)
        before = np.flatnonzero(commas)
        if body[start] == ord("["):
            path += f"[{len(before)}]"
        elif key := _KEY.match(body, start + 1 + (int(before[-1]) if len(before) else 0)):
            path += ("." if path else "") + cut(_named(key[1]))
    return cut(path, LONGEST_PATH) or None


def half_pair(body: bytes) -> int | None:
    """Return where a text holds half of a surrogate pair, which stands for no character; None: nowhere."""
    escapes = body.replace(b"\\\\", b"__")
    return next((found.start() for found in _PAIR_OR_HALF.finditer(escapes) if len(found[0]) == 6), None)


def too_deep_at(body: bytes, depth: int) -> int | None:
    """Return where values are nested deeper than `depth` levels; None: nowhere."""
    if body.count(b"[") + body.count(b"{") <= depth:
        return None
    inside, level = np.False_, 0
    values = _unescaped(body)
    for start in range(0, len(values), _CHUNK):
        texts, steps = _marks(values[start : start + _CHUNK], inside)
        levels = np.cumsum(steps, dtype=np.int32) + level
        if levels.max() > depth:
            return start + int(np.argmax(levels > depth))
        inside, level = texts[-1], int(levels[-1])
    return None


def _named(key: bytes) -> str:
    try:
        return str(json.loads(key, strict=False))
    except ValueError:  # an escape that is none, or bytes that are no UTF-8: as it was sent
        return key[1:-1].decode(errors="replace")


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
