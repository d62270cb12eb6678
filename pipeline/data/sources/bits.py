"""Properties of the bytes of a block, one bit each, so that one step of NumPy judges 64 bytes.

A block of 8 MiB is 131,072 words: they stay in the processor's cache, while positions as integers are as large as the block.
The steps are those of Langdale and Lemire, "Parsing Gigabytes of JSON per Second", VLDB Journal 28 (2019), section 3.1.

    quotes = equal(block, ord('"'))
    separators = equal(block, ord(",")) & ~inside(quotes)
    positions(separators)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Bits = NDArray[np.uint64]  # byte 64 * w + b of a block is bit b of word w, from the lowest; bits behind the last byte are 0
Positions = NDArray[np.int64]

_WORD = np.dtype("<u8")
_PIECE = 1 << 18  # bytes that stay in the processor's cache; a multiple of 64
_ONE = np.uint64(1)
_TOP = np.uint64(63)


def pieces(block: Bytes) -> Iterator[tuple[int, Bytes]]:
    """Yield (start, bytes) of a block, a cache's worth at a time."""
    for start in range(0, len(block), _PIECE):
        yield start, block[start : start + _PIECE]


def equal(block: Bytes, *values: int, masked: int = 0xFF) -> Bits:
    """Return which bytes, of which only the bits of `masked` count, are one of these values."""
    return _between(block, [(value, 1) for value in values], masked=masked)


def digits(block: Bytes) -> Bits:
    """Return which bytes are a digit from 0 to 9."""
    return _between(block, [(ord("0"), 10)], masked=0xFF)


def _between(block: Bytes, ranges: list[tuple[int, int]], *, masked: int) -> Bits:
    """Return which bytes are in one of the ranges (first, length)."""
    words = np.zeros(-(-len(block) // 64), dtype=_WORD)
    octets = words.view(np.uint8)
    for start, piece in pieces(block):
        seen = piece if masked == 0xFF else piece & np.uint8(masked)
        found = np.zeros(len(piece), dtype=bool) if not ranges else _within(seen, *ranges[0])
        for first, length in ranges[1:]:
            found |= _within(seen, first, length)
        packed = np.packbits(found, bitorder="little")
        octets[start // 8 : start // 8 + len(packed)] = packed
    return words


def _within(piece: Bytes, first: int, length: int) -> NDArray[np.bool_]:
    if length == 1:
        return piece == np.uint8(first)
    return piece - np.uint8(first) < np.uint8(length)  # smaller bytes wrap around to large ones


def inside(quotes: Bits) -> Bits:
    """Return which bytes have an odd number of quotes up to and with themselves: from an opening quote to before its closing."""
    odd = quotes.copy()
    for step in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(step)
    ends_odd = np.bitwise_xor.accumulate(odd >> _TOP)
    odd[1:] ^= -ends_odd[:-1]  # 1 becomes 64 ones
    return odd


def behind(bits: Bits, *, first: bool = False) -> Bits:
    """Return which bytes follow a byte that is set; `first`: whether the byte before the block is."""
    moved = bits << _ONE
    moved[1:] |= bits[:-1] >> _TOP
    if first and len(moved):
        moved[0] |= _ONE
    return moved


def before(bits: Bits) -> Bits:
    """Return which bytes stand before a byte that is set."""
    moved = bits >> _ONE
    moved[:-1] |= bits[1:] << _TOP
    return moved


def positions(bits: Bits) -> Positions:
    """Return which bytes are set, in order."""
    words = _PIECE // 8
    found = [
        np.flatnonzero(np.unpackbits(bits[start : start + words].view(np.uint8), bitorder="little").view(bool)) + 64 * start
        for start in range(0, len(bits), words)
        if bits[start : start + words].any()
    ]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def count(bits: Bits) -> int:
    """Return how many bytes are set."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def ranks(bits: Bits, at: Positions) -> Positions:
    """Return how many bytes are set before each position."""
    totals = np.cumsum(np.bitwise_count(bits), dtype=np.int64)
    word = at >> 6
    return totals[word] - np.bitwise_count(bits[word] >> (at & 63).astype(_WORD))
