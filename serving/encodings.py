"""Compressed bodies: `Content-Encoding: gzip` or `deflate`, within the limit for what is sent plainly.

    body = inflated(body, "gzip", limit=16 * 2**20)
    reply = deflated(reply, "gzip")

What comes out counts against the same limit as what is sent, and inflating stops there: a small bomb costs no memory.
"""

import gzip
import zlib
from collections.abc import Callable

from serving.errors import InvalidInput, TooLarge, UnsupportedMedia
from serving.exchange import Reply

_EITHER = 32 + zlib.MAX_WBITS  # gzip or zlib, told apart by their first bytes
_LEVEL = 1  # a reply is compressed while its client waits
_WORTH = 1024  # bytes; less is not worth it
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, _LEVEL, mtime=0),
    "deflate": lambda body: zlib.compress(body, _LEVEL),
}
_RAW = -zlib.MAX_WBITS  # what some clients mean by deflate


def inflated(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Return a body as it was before its Content-Encoding.

    Raises UnsupportedMedia for an encoding that is not read here, TooLarge beyond `limit` bytes, InvalidInput for a body that
    is cut or not in that encoding.
    """
    name = (encoding or "identity").strip().lower()
    if name == "identity":
        return body
    if name not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedMedia(f"cannot read Content-Encoding {name[:100]!r}; send gzip, deflate, or no Content-Encoding")
    zlib_header = name != "deflate" or (len(body) > 1 and (body[0] << 8 | body[1]) % 31 == 0 and body[0] & 15 == zlib.DEFLATED)
    inflater = zlib.decompressobj(_EITHER if zlib_header else _RAW)
    try:
        found = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not {name}, as its Content-Encoding says: {error}") from error
    if len(found) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes once inflated; send fewer rows in a request")
    if not inflater.eof:
        raise InvalidInput(f"the body ends in the middle of its {name}; send it whole")
    if inflater.unused_data:
        raise InvalidInput(f"the body goes on behind the end of its {name}; send one stream")
    return found


def deflated(reply: Reply, accepted: str | None) -> Reply:
    """Compress a reply for a client that asks for just one encoding, as Triton's client does; others read it as it is.

    Browsers and most libraries name several by themselves, without being short of bandwidth; some of them name what they then
    do not inflate.
    """
    compress = _COMPRESS.get(accepted or "")
    if compress is not None and reply.status == 200 and len(reply.body) >= _WORTH:
        reply.body = compress(reply.body)
        reply.headers += [("content-encoding", str(accepted)), ("vary", "accept-encoding")]
    return reply
