"""Requests with one fault each, for tests.serving.test_strict_requests: the fault, and the path at which it stands."""

import json
from typing import NamedTuple

from tests.serving.conftest import FEATURES

WIDE = FEATURES[2]


class Form(NamedTuple):
    """One way to send rows: a body with a hole for the last value of its first row, and that value's path."""

    path: str
    body: str
    place: str

    def of(self, value: str) -> bytes:
        return self.body.replace("HOLE", value).encode()


def record(form: str, body: str) -> str:
    return f'{{"{form}": [{body}]}}'


def tensor(body: str) -> str:
    return record("inputs", body)


RECORD = f'{{"age": 1, "body mass": 2, "{WIDE}": HOLE}}'
TENSOR = '{"name": "inputs", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, HOLE]}'
NAMES = json.dumps(FEATURES, ensure_ascii=False)
V1, V2 = "/v1/models/tiny:predict", "/v2/models/tiny/infer"
FORMS = {
    "predict inputs": Form("/predict", '{"inputs": [[1, 2, HOLE]]}', "inputs[0][2]"),
    "predict records": Form("/predict", record("records", RECORD), f"records[0].{WIDE}"),
    "invocations inputs": Form("/invocations", '{"inputs": [[1, 2, HOLE]]}', "inputs[0][2]"),
    "invocations columns": Form(
        "/invocations", f'{{"inputs": {{"age": [1], "body mass": [2], "{WIDE}": [HOLE]}}}}', f"inputs.{WIDE}[0]"
    ),
    "invocations records": Form("/invocations", record("dataframe_records", RECORD), f"dataframe_records[0].{WIDE}"),
    "invocations split": Form(
        "/endpoints/any/invocations",
        f'{{"dataframe_split": {{"columns": {NAMES}, "data": [[1, 2, HOLE]]}}}}',
        "dataframe_split.data[0][2]",
    ),
    "v1 instances": Form(V1, '{"instances": [[1, 2, HOLE]]}', "instances[0][2]"),
    "v1 records": Form(V1, record("instances", RECORD), f"instances[0].{WIDE}"),
    "v2 flat": Form(V2, tensor(TENSOR), "inputs[0].data[2]"),
    "v2 nested": Form(V2, tensor(TENSOR.replace("[1, 2, HOLE]", "[[1, 2, HOLE]]")), "inputs[0].data[0][2]"),
}
VALUES = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "1e999": "1e999",
    "-1e999": "-1e999",
    "1e39": "1e39",
    "an integer of 5,000 digits": "9" * 5000,
    "a fraction of 5,000 digits": "9" * 5000 + ".5",
    "a text": '"3"',
    "a boolean": "true",
    "null": "null",
    "a list": "[3]",
    "an object": '{"a": 3}',
    "a lone surrogate": '"\\ud800"',
    "an escape that is none": '"\\x"',
}
DEPTHS = {
    "1,000 lists": "[" * 1000 + "]" * 1000,
    "1,000 lists that do not end": "[" * 1000,
    "1,000 objects": '{"a":' * 1000 + "1" + "}" * 1000,
    "100,000 lists": "[" * 100_000 + "]" * 100_000,
    "100,000 objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "100,000 of both": '[{"a":' * 50_000,
}
# Bodies as a whole; ROW: a form with a number in its hole.
BODIES = {
    "empty": b"",
    "spaces": b" \r\n\t",
    "null": b"null",
    "true": b"true",
    "a number": b"3",
    "a text": b'"inputs"',
    "a lone surrogate": b'"\\ud800"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "NaN": b"NaN",
    "cut": b'{"inputs": [[1, 2',
    "not JSON": b"<html>",
    "bytes": bytes(range(256)),
    "a surrogate as a key": b'{"\\ud800": 1}',
    "a surrogate as a key, and NaN": b'{"\\ud800": NaN}',
    "a surrogate as a key, twice": b'{"\\ud800": 1, "\\ud800": 2}',
    "a surrogate as a key of a row": b'{"instances": [{"\\udfff": 1}]}',
    "a surrogate as a parameter": b'{"params": {"\\ud800": 1}, "inputs": []}',
    "a tab within a key, and NaN": b'{"a\tb": NaN}',
    "a control character within a key, and 1e999": b'{"\x01": 1e999}',
    "an escape that is none within a key": b'{"\\x": NaN}',
    "1,000 times the same key": b"{" + b'"a": 1, ' * 999 + b'"a": 1}',
    "100,000 keys": b"{" + b", ".join(b'"%d": 1' % i for i in range(100_000)) + b"}",
    "100,000 commas": b"," * 100_000,
    "100,000 quotes": b'"' * 100_000,
    "100,000 backslashes": b'{"' + b"\\" * 100_000,
}
OTHER_ENCODINGS = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-16 without mark": lambda body: body.decode().encode("utf-16-le"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "Latin-1": lambda body: body + b'"\xe4"',
    "trailing garbage": lambda body: body + b" x",
    "two documents": lambda body: body + body,
    "a trailing comma": lambda body: body[:-1] + b",}",
}

TWICE = {
    "predict, the whole": ("/predict", '{"inputs": [[1, 2, 3]], "inputs": [[1, 2, 3]]}', "inputs"),
    "predict, a record": ("/predict", record("records", RECORD.replace("HOLE", '3, "age": 1')), "records[0].age"),
    "predict, escaped": ("/predict", '{"inputs": [[1, 2, 3]], "\\u0069nputs": [[1, 2, 3]]}', "inputs"),
    "invocations, the whole": ("/invocations", '{"inputs": [[1, 2, 3]], "inputs": [[1, 2, 3]]}', "inputs"),
    "invocations, a record": (
        "/invocations",
        record("dataframe_records", RECORD.replace("HOLE", '3, "age": 1')),
        "dataframe_records[0].age",
    ),
    "v1, the whole": (V1, '{"instances": [[1, 2, 3]], "instances": [[1, 2, 3]]}', "instances"),
    "v1, a record": (V1, record("instances", RECORD.replace("HOLE", '3, "age": 1')), "instances[0].age"),
    "v2, the whole": (V2, tensor(TENSOR + '], "inputs": [' + TENSOR), "inputs"),
    "v2, parameters": (V2, tensor(TENSOR)[:-1] + ', "parameters": {"timeout": 1, "timeout": 2}}', "parameters.timeout"),
    "v2, a tensor's parameters": (
        V2,
        tensor(TENSOR.replace('"data"', '"parameters": {"a": 1, "a": 2}, "data"')),
        "inputs[0].parameters.a",
    ),
    "v2, beside what nobody knows": (V2, tensor(TENSOR)[:-1] + ', "x": 1, "outputs": null, "id": "a", "id": "b"}', "id"),
    "v2, a tensor": (V2, tensor(TENSOR.replace('"data"', '"data": [1, 2, 4], "data"')), "inputs[0].data"),
}

SHAPES = {
    "predict, ragged": ("/predict", '{"inputs": [[1, 2, 3], [1, 2]]}', "inputs[1]"),
    "predict, too deep": ("/predict", '{"inputs": [[[1, 2, 3]]]}', "inputs[0][0]"),
    "predict, flat": ("/predict", '{"inputs": [1, 2, 3]}', "inputs[0]"),
    "predict, no rows": ("/predict", '{"inputs": []}', "inputs"),
    "predict, an empty row": ("/predict", '{"inputs": [[]]}', "inputs[0]"),
    "predict, no records": ("/predict", '{"records": []}', "records"),
    "predict, an empty record": ("/predict", '{"records": [{}]}', "records[0].age"),
    "predict, records that are none": ("/predict", '{"records": [3]}', "records[0]"),
    "invocations, ragged": ("/invocations", '{"inputs": [[1, 2, 3], [1, 2]]}', "inputs[1]"),
    "invocations, no rows": ("/invocations", '{"instances": []}', "instances"),
    "invocations, ragged columns": (
        "/invocations",
        f'{{"inputs": {{"age": [1, 2], "body mass": [2], "{WIDE}": [3, 4]}}}}',
        "inputs.body mass",
    ),
    "invocations, a split row": (
        "/invocations",
        f'{{"dataframe_split": {{"columns": {NAMES}, "data": [[1, 2, 3], [1]]}}}}',
        "dataframe_split.data[1]",
    ),
    "v1, ragged": (V1, '{"instances": [[1, 2, 3], [1, 2, 3, 4]]}', "instances[1]"),
    "v1, no rows": (V1, '{"instances": []}', "instances"),
    "v1, an empty object": (V1, '{"instances": {}}', "instances"),
    "v2, too few": (V2, tensor(TENSOR.replace(", HOLE", "")), "inputs[0].data"),
    "v2, ragged": (V2, tensor(TENSOR.replace("[1, 2, HOLE]", "[[1, 2], [3]]")), "inputs[0].data"),
    "v2, another shape": (V2, tensor(TENSOR.replace("[1, 3]", "[3, 1]")), "inputs[0].shape"),
    "v2, a negative shape": (V2, tensor(TENSOR.replace("[1, 3]", "[-1, 3]")), "inputs[0].shape"),
    "v2, a huge shape": (V2, tensor(TENSOR.replace("[1, 3]", "[9007199254740992, 3]")), "inputs[0].shape"),
    "v2, a dimension of 5,000 digits": (
        V2,
        tensor(TENSOR.replace("[1, 3]", f"[{'9' * 5000}, 3]")),
        "inputs[0].shape[0]",
    ),
    "v2, no tensor": (V2, '{"inputs": []}', "inputs"),
    "v2, an empty tensor": (V2, '{"inputs": [{}]}', "inputs[0].name"),
}

MANY = 4_100_000  # values, in 8 MB
COUNTS = {
    "predict": ("/predict", b'{"inputs": [[' + b"1," * MANY + b"1]]}"),
    "predict, empty rows": ("/predict", b'{"inputs": [' + b"[]," * MANY + b"[]]}"),
    "invocations": ("/invocations", b'{"inputs": [[' + b"1," * MANY + b"1]]}"),
    "v1": (V1, b'{"instances": [[' + b"1," * MANY + b"1]]}"),
    "predict, a row too many": ("/predict", b'{"inputs": [' + b"[1,1,1]," * 100_000 + b"[1,1,1]]}"),
    "v1, a row too many": (V1, b'{"instances": [' + b"[1,1,1]," * 100_000 + b"[1,1,1]]}"),
    "v2": (V2, TENSOR.replace("[1, 3]", "[1400000, 3]").replace("1, 2, HOLE", "1").encode().join([b'{"inputs": [', b"]}"])),
}
