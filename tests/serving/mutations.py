"""Good requests of every kind, and strategies that change them a little: what tests.serving.test_fuzz and `make soak` send."""

import gzip
import json
import struct
import zlib
from typing import Any

from hypothesis import strategies as st

from tests.serving.attack import JSON
from tests.serving.conftest import FEATURES

ROWS = [[0.5, 1.0, -1.0], [1.0, -2.0, 0.25]]
FLAT = [value for row in ROWS for value in row]
RECORDS = [dict(zip(FEATURES, row, strict=True)) for row in ROWS]
V1, V2 = "/v1/models/tiny:predict", "/v2/models/tiny/infer"
TENSOR = {"name": "inputs", "shape": [2, 3], "datatype": "FP32", "data": FLAT}
COLUMNS = [
    {"name": name, "shape": [2, 1], "datatype": "FP64", "data": [row[column] for row in ROWS]}
    for column, name in enumerate(FEATURES)
]
# Good requests: path and JSON.
GOOD: list[tuple[str, Any]] = [
    ("/predict", {"inputs": ROWS}),
    ("/predict", {"records": RECORDS}),
    ("/predict?top_k=1", {"inputs": ROWS}),
    ("/predict/", {"inputs": ROWS}),
    ("/invocations", {"inputs": ROWS}),
    ("/invocations", {"instances": RECORDS, "params": {}}),
    ("/invocations", {"dataframe_records": RECORDS}),
    ("/invocations", {"dataframe_split": {"columns": list(FEATURES), "data": ROWS, "index": [0, 1]}}),
    ("/invocations", {"inputs": {name: [row[column] for row in ROWS] for column, name in enumerate(FEATURES)}}),
    ("/endpoints/any/invocations", {"inputs": ROWS}),
    (V1, {"instances": ROWS}),
    (V1, {"instances": RECORDS, "signature_name": "serving_default", "parameters": {}}),
    (V1, {"inputs": ROWS}),
    (V2, {"id": "a", "inputs": [TENSOR], "parameters": {"timeout": 5_000_000}}),
    (V2, {"inputs": COLUMNS, "outputs": [{"name": "label", "parameters": {"binary_data": True}}]}),
    ("/v2/models/tiny/versions/1/infer", {"inputs": [TENSOR]}),
    ("/v2/repository/index", {}),
]
CSV = (",".join(FEATURES) + "\n0.5,1,-1\n1,-2,0.25\n").encode()
NPY = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".ljust(117) + b"\n"
NPY += struct.pack("<6f", *FLAT)
HEAD = json.dumps(
    {"inputs": [{"name": "inputs", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}]}
).encode()
BINARY = HEAD + struct.pack("<6f", *FLAT)
BOUNDARY = (
    b'--b\r\ncontent-disposition: form-data; name="a"; filename="a.png"\r\ncontent-type: image/png\r\n\r\n%s\r\n--b--\r\n'
)
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx\x9cc`"
    b"\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
# Good requests that are not JSON: path, headers and body.
GOOD_BYTES: list[tuple[str, dict[str, str], bytes]] = [
    ("/predict", {"content-type": "text/csv"}, CSV),
    ("/predict", {"content-type": "application/x-npy"}, NPY),
    ("/invocations", {"content-type": "text/csv; charset=utf-8"}, CSV),
    (V2, {"inference-header-content-length": str(len(HEAD))}, BINARY),
    (V2, {"content-type": f"application/vnd.sagemaker-triton.binary+json;json-header-size={len(HEAD)}"}, BINARY),
    ("/invocations", {"content-type": f"application/vnd.sagemaker-triton.binary+json;json-header-size={len(HEAD)}"}, BINARY),
    (V2, {"inference-header-content-length": "0"}, struct.pack("<3f", *ROWS[0])),
    (
        "/predict",
        {"content-type": JSON, "content-encoding": "gzip"},
        gzip.compress(json.dumps({"inputs": ROWS}).encode(), mtime=0),
    ),
    ("/predict", {"content-type": JSON, "content-encoding": "deflate"}, zlib.compress(json.dumps({"inputs": ROWS}).encode())),
]
PICTURES: list[tuple[str, dict[str, str], bytes]] = [
    ("/predict", {"content-type": "image/png"}, PNG),
    ("/predict", {"content-type": "multipart/form-data; boundary=b"}, BOUNDARY % PNG),
]

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [*FEATURES, "inputs", "data", "label", "FP32", "BYTES", "INT8", "\0", "'\"\\", "../../x", "{{7*7}}", "a" * 3000]
    ),
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 2**31, 2**63, -(2**63) - 1, 1e39, 1e308, 10**400]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
# What json.dumps never writes, put where a value was.
BROKEN = st.sampled_from(
    [
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"01",
        b"+1",
        b".5",
        b"'a'",
        b'"\\ud800"',
        b'"\\x"',
        b'"\xff"',
        b"tru",
        b"[" * 50,
        b"//",
        b"",
        b"9" * 5000,
        b'"a',
        b"[1,]",
        b'{"a":1,"a":1}',
        b'{"\\ud800":NaN}',
        b'{"a\tb":NaN}',
        b"\xef\xbb\xbf",
        b"\0",
        b'"\t"',
    ]
)
HOLE = "~~hole~~"


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Change one place of a document: replace, remove, repeat or rename."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 4)) == 0:
        return draw(VALUES | st.just(HOLE))
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        what = draw(st.sampled_from(["inside", "inside", "remove", "repeat", "insert"]))
        inner = [draw(changed(value[index]))] if what == "inside" else {"remove": [], "repeat": [value[index]] * 2}.get(what)
        return value[:index] + ([draw(VALUES), value[index]] if inner is None else inner) + value[index + 1 :]
    key = draw(st.sampled_from(sorted(value)))
    what = draw(st.sampled_from(["inside", "inside", "inside", "remove", "rename", "add"]))
    others = {name: value[name] for name in value if name != key}
    match what:
        case "inside":
            return {**value, key: draw(changed(value[key]))}
        case "remove":
            return others
        case "rename":
            return {**others, draw(TEXTS): value[key]}
    return {**value, draw(TEXTS): draw(VALUES)}


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route, and JSON that is a few changes away from what it takes."""
    path, value = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 3))):
        value = draw(changed(value))
    body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    return path, body.replace(f'"{HOLE}"'.encode(), draw(BROKEN))


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Change some bytes of a body: flip, cut, repeat, insert."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["flip", "flip", "cut", "repeat", "insert", "drop"])):
            case "flip" if at < len(body):
                body = body[:at] + bytes([body[at] ^ 1 << draw(st.integers(0, 7))]) + body[at + 1 :]
            case "cut":
                body = body[:at]
            case "repeat":
                body = body[:at] + body[at : at + draw(st.integers(1, 64))] * draw(st.integers(2, 50)) + body[at:]
            case "insert":
                body = body[:at] + draw(st.binary(max_size=8) | BROKEN) + body[at:]
            case _:
                body = body[:at] + body[at + draw(st.integers(1, 16)) :]
    return body


WORDS = st.one_of(
    st.binary(max_size=40).map(lambda some: bytes(byte for byte in some if byte not in b"\r\n\0")),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40).map(lambda text: text.encode("latin-1")),
    st.text(st.sampled_from("0123456789"), min_size=1, max_size=400).map(str.encode),
    st.sampled_from(
        [
            b"",
            b" ",
            b"0",
            b"-1",
            b"1e9",
            b"0" * 9 + b"1" + b"9" * 500,
            b"0" * 9 + b"1" + b"9" * 5000,
            b"\xff\xfe",
            b"\xe2\x82\xac",
        ]
    ),
    st.sampled_from(
        [b"application/json; charset=latin-1", b"text/csv; a=\xff", b"multipart/form-data", b"multipart/form-data; boundary="]
    ),
    st.sampled_from([b"image/png", b"application/x-npy", b"application/vnd.sagemaker-triton.binary+json;json-header-size=9"]),
    st.sampled_from(
        [b"gzip", b"deflate", b"br", b"gzip, gzip", b"identity", b"GZIP ", b"chunked", b"gzip, chunked", b"Bearer x"]
    ),
)
NAMES = [
    "content-type",
    "content-encoding",
    "inference-header-content-length",
    "x-request-timeout-ms",
    "x-request-id",
    "accept",
]
NAMES += [
    "authorization",
    "x-api-key",
    "origin",
    "host",
    "expect",
    "connection",
    "transfer-encoding",
    "content-length",
    "cookie",
    "range",
]
