"""Rows as .npy files: every type and order that numpy writes, and headers that lie."""

import io
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.errors import InvalidInput, Refusal, TooLarge
from serving.protocols.arrays import rows_of_npy
from tests.serving.asking import facts_of
from tests.serving.conftest import IMAGE, TABLE

table, image = facts_of(TABLE), facts_of(IMAGE)
ROWS = np.arange(12).reshape(3, 2, 2)


def npy(values: Any, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(values), version=version)
    return buffer.getvalue()


def headed(header: str, content: bytes = b"\0" * 16) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin-1") + content


@pytest.mark.parametrize("kind", ["?", "<f2", "<f4", ">f4", "<f8", ">f8", "i1", "u1", "<i2", ">u2", "<i4", "<i8", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_numbers_of_any_width_byte_order_and_memory_order_arrive(kind: str, order: Any, version: tuple[int, int]) -> None:
    sent = np.array(ROWS, dtype=kind, order=order)
    found = rows_of_npy(npy(sent, version), image)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.flags.writeable
    np.testing.assert_array_equal(found, sent.astype(np.float32))


def test_a_single_row_needs_no_batch_dimension() -> None:
    np.testing.assert_array_equal(rows_of_npy(npy(ROWS[1]), image), ROWS[1:2])
    np.testing.assert_array_equal(rows_of_npy(npy([1, 2, 3]), table), [[1, 2, 3]])


def test_other_writers_headers_are_read_whatever_their_quotes_spaces_and_order_of_keys() -> None:
    content = np.arange(3, dtype="<f4").tobytes()
    for header in (
        '{"shape":(1,3),"fortran_order":False,"descr":"<f4"}',
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} \n",
    ):
        np.testing.assert_array_equal(rows_of_npy(headed(header, content), table), [[0, 1, 2]])


def test_a_boolean_that_is_neither_0_nor_1_is_true() -> None:
    body = npy(np.zeros((1, 3), dtype=bool))
    np.testing.assert_array_equal(rows_of_npy(body[:-1] + b"\x07", table), [[0, 0, 1]])


def header(descr: str = "'<f4'", order: str = "False", shape: str = "(1, 3)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


HUGE = "(" + "9" * 18 + ", 3)"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (npy([[1, 2, 3], [1, np.nan, 3]]), "inputs[1][1]", "is NaN, which is no number"),
        (npy([[1, 2, np.inf]]), "inputs[0][2]", "the number does not fit into 32-bit"),
        (npy([[1, -1e39, 0]]), "inputs[0][1]", "the number does not fit into 32-bit"),
        (npy([[1, 2]]), "inputs", "expected an array of shape (batch, 3) or (3), got (1, 2)"),
        (npy(np.zeros((2, 1, 3))), "inputs", "expected an array of shape (batch, 3) or (3), got (2, 1, 3)"),
        (npy(7), "inputs", "expected an array of shape (batch, 3) or (3), got ()"),
        (npy(np.zeros((0, 3))), "inputs", "must hold at least one row"),
        (npy([[1, 2, 3]])[:-1], None, "the header promises 24 bytes of int64 in the shape (1, 3), and 23 came"),
        (npy([[1, 2, 3]]) + b"\0", None, "the header promises 24 bytes of int64 in the shape (1, 3), and 25 came"),
        (npy([["a", "b", "c"]]), None, "the .npy file has values of type '<U1'; send floats, integers or booleans"),
        (npy([[1j, 2, 3]]), None, "the .npy file has values of type '<c16'"),
        (npy(np.zeros(3, dtype=[("a", "<f4")])), None, "the header of the .npy file is not understood; arrays of structures"),
        (headed(header("'|O'")), None, "the .npy file has values of type '|O'; objects travel as pickles"),
        (headed(header("'<f3'")), None, "the .npy file has values of type '<f3'"),
        (headed(header("'<f16'"), b"\0" * 48), None, "the .npy file has values of type '<f16'"),
        (headed(header(order="'True'")), None, "the header of the .npy file is not understood"),
        (headed(header(shape="'1,3'")), None, "the header of the .npy file is not understood"),
        (headed(header(shape="(01, 3)")), None, "the .npy file has no shape that could be: (01, 3)"),
        (headed(header(shape="(-1, 3)")), None, "the header of the .npy file is not understood"),
        (headed(header(shape="(1 2, 3)")), None, "the .npy file has no shape that could be: (1 2, 3)"),
        (headed(header(shape=f"({'9' * 300}, 3)")), None, "the .npy file has no shape that could be: (999"),
        (headed(header(order="1")), None, "the header of the .npy file is not understood"),
        (headed("{'shape': (1, 3), 'shape': (1, 3)}"), None, "the header of the .npy file is not understood"),
        (headed("__import__('os').system('true')"), None, "the header of the .npy file is not understood"),
        (headed("(" * 9000), None, "the header of the .npy file is not understood"),
        (b"\x93NUMPY\x09\x00", None, "the .npy file is of a version that is not known"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", None, "the header of the .npy file is cut off, or longer than"),
        (b"\x93NUMPY\x01\x00", None, "the header of the .npy file is "),
        (b"PK\x03\x04", None, "the body is no .npy file"),
        (b"", None, "the body is no .npy file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_place(body: bytes, field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rows_of_npy(body, table)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("shape", "values"), [(HUGE, 300_000), ("(5, 3)", 12)])
def test_more_values_than_a_request_may_hold_are_refused_before_any_is_made(shape: str, values: int) -> None:
    with pytest.raises(TooLarge, match=re.escape(f"more than the {values // 3:,} that one request may hold")):
        rows_of_npy(headed(header(shape=shape), b"\0" * 60), facts_of(TABLE, values=values))


@given(cut=st.integers(0, 200), changes=st.lists(st.tuples(st.integers(0, 151), st.integers(0, 255)), max_size=4))
@example(cut=200, changes=[])
def test_damaged_files_are_rows_or_refused(cut: int, changes: list[tuple[int, int]]) -> None:
    body = bytearray(npy([[1.0, 2.0, 3.0]]))
    for at, value in changes:
        body[at] = value
    try:
        rows = rows_of_npy(bytes(body[:cut]), table)
    except Refusal:
        return
    assert rows.shape == (1, 3)
    assert np.isfinite(rows).all()
