"""Properties of the bytes of a block, one bit each, so that one step of NumPy judges 64 bytes.

A block of 8 MiB is 131,072 words: they stay in the processor's cache, while positions as integers are as large as the block.
The steps are those of Langdale and Lemire, "Parsing Gigabytes of JSON per Second", VLDB Journal 28 (2019), section 3.1.

    quotes = equal(block, ord('"'))
    separators = equal(block, ord(",")) & ~inside(quotes)
    positions(separators)
"""

from collections.abc import Iterator, Sequence

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


def equal(block: Bytes, *values: int) -> Bits:
    """Return which bytes are one of these values."""
    return _packed(block, [(value, 1) for value in values])


def digits(block: Bytes) -> Bits:
    """Return which bytes are a digit from 0 to 9."""
    return _packed(block, [(ord("0"), 10)])


def _packed(block: Bytes, ranges: Sequence[tuple[int, int]]) -> Bits:
    """Return which bytes are in one of the ranges (first, length)."""
    words = np.zeros(-(-len(block) // 64), dtype=_WORD)
    octets = words.view(np.uint8)
    for start, piece in pieces(block):
        found = _within(piece, *ranges[0])
        for others in ranges[1:]:
            found |= _within(piece, *others)
        packed = np.packbits(found, bitorder="little")
        octets[start // 8 : start // 8 + len(packed)] = packed
    return words


def _within(piece: Bytes, first: int, length: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = piece == first if length == 1 else piece - np.uint8(first) < length  # smaller bytes wrap around
    return found


def inside(quotes: Bits) -> Bits:
    """Return which bytes have an odd number of quotes up to and with them: from an opening quote to before its closing."""
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
    words = np.flatnonzero(bits)
    found = np.flatnonzero(np.unpackbits(bits[words].view(np.uint8), bitorder="little").view(bool))
    places: Positions = (words[found >> 6] << 6) + (found & 63)
    return places


def at(bits: Bits, places: Positions) -> NDArray[np.bool_]:
    """Return whether each of these bytes is set."""
    found: NDArray[np.bool_] = (bits[places >> 6] >> (places & 63).astype(_WORD) & _ONE).astype(bool)
    return found


def ranks(bits: Bits, places: Positions) -> Positions:
    """Return how many bytes are set before each position."""
    totals = np.cumsum(np.bitwise_count(bits), dtype=np.int64)
    word = places >> 6
    found: Positions = totals[word] - np.bitwise_count(bits[word] >> (places & 63).astype(_WORD))
    return found
