"""Compressed bodies: read within the limit, refused beyond it before memory is spent."""

import gzip
import tracemalloc
import zlib

import pytest

from serving.encodings import deflated, inflated
from serving.errors import InvalidInput, TooLarge, UnsupportedMedia
from serving.exchange import Reply

BODY = b'{"inputs": [[1, 2, 3]]}' * 50
LIMIT = 1_000_000


def raw(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw(BODY)),
    ],
    ids=["none", "identity", "gzip", "upper case", "x-gzip", "zlib", "raw deflate"],
)
def test_a_body_is_read_as_it_was_before_its_encoding(encoding: str | None, body: bytes) -> None:
    assert inflated(body, encoding, LIMIT) == BODY


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    assert len(inflated(gzip.compress(b"1" * LIMIT), "gzip", LIMIT)) == LIMIT
    with pytest.raises(TooLarge, match=f"larger than {LIMIT} bytes once inflated"):
        inflated(gzip.compress(b"1" * (LIMIT + 1)), "gzip", LIMIT)


def test_a_bomb_costs_no_more_memory_than_the_limit() -> None:
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflated(bomb, "deflate", LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * LIMIT


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", BODY, "is not gzip"),
        ("gzip", gzip.compress(BODY)[:-9], "ends in the middle of its gzip"),
        ("gzip", b"", "ends in the middle"),
        ("deflate", b"\x78", "ends in the middle|is not deflate"),
        ("gzip", gzip.compress(BODY) + b"more", "goes on behind the end"),
    ],
    ids=["plain", "cut", "empty", "one byte", "two streams"],
)
def test_a_body_that_is_not_what_it_says_is_refused(encoding: str, body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        inflated(body, encoding, LIMIT)


def test_an_encoding_that_is_not_read_is_named() -> None:
    with pytest.raises(UnsupportedMedia, match="cannot read Content-Encoding 'br'; send gzip, deflate"):
        inflated(BODY, "br", LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_reply_is_compressed_for_a_client_that_asks_for_just_that(encoding: str) -> None:
    reply = deflated(Reply(200, BODY * 10), encoding)
    assert len(reply.body) < len(BODY)
    assert ("content-encoding", encoding) in reply.headers
    assert inflated(reply.body, encoding, LIMIT) == BODY * 10


@pytest.mark.parametrize(
    ("accepted", "status", "body"),
    [(None, 200, BODY), ("gzip, deflate, br", 200, BODY), ("gzip", 400, BODY), ("gzip", 200, b"{}")],
)
def test_any_other_reply_is_left_as_it_is(accepted: str | None, status: int, body: bytes) -> None:
    reply = deflated(Reply(status, body), accepted)
    assert (reply.body, reply.headers) == (body, [])
