"""Rows as CSV: cells become what they are in a record, and a wrong one is refused with its place."""

import csv
import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInput, Refusal, TooLarge, UnsupportedMedia
from serving.protocols.json_rows import Decoder
from serving.protocols.tables import rows_of_csv
from serving.schema import Feature
from tests.serving.asking import facts_of
from tests.serving.conftest import FEATURES, IMAGE, MESSY, TABLE

table, messy = facts_of(TABLE), facts_of(MESSY)
NAMES = [feature.name for feature in MESSY.features]
HEAD = "age,member,city,joined,mass\n"
DATE = 'expected a date in ISO 8601, such as "2024-10-04", got '


def rows(text: str | bytes, model: Any = messy) -> Any:
    return rows_of_csv(text if isinstance(text, bytes) else text.encode(), model)


def test_columns_are_found_by_name_in_any_order_and_quoted_cells_are_cells() -> None:
    text = 'mass,city,member,joined,age\r\n"7.5","Zürich",yes,2024-02-29T00:01,\r\n1e0,"Bern\nor, Rome",NO,,+30.\r\n'
    expected = [[np.nan, 1, 2, 19_782, 60, 7.5], [30, 0, 0, np.nan, np.nan, 1]]
    np.testing.assert_array_equal(rows(text), np.array(expected, dtype=np.float32))


def test_what_spreadsheets_add_is_passed_over() -> None:
    plain = rows("größe.cm[1],age,body mass\n3,1,2\n", table)
    np.testing.assert_array_equal(plain, [[1, 2, 3]])
    odd = "\ufeffgröße.cm[1], age ,body mass\r\n 3 ,1, 2\r\n\r\n\r\n"
    np.testing.assert_array_equal(rows(odd, table), plain)


def test_names_that_differ_only_in_the_spaces_around_them_are_told_apart() -> None:
    named = msgspec.structs.replace(TABLE, features=tuple(Feature(name, -2, 2) for name in ("a", " a", "b ")))
    np.testing.assert_array_equal(rows("b, a,a\n3,2,1\n", facts_of(named)), [[1, 2, 3]])
    with pytest.raises(InvalidInput, match="no such feature"):
        rows("a,a , a,b\n1,2,3,4\n", facts_of(named))


def test_a_boolean_that_pandas_wrote_as_a_fraction_is_one() -> None:
    features = (MESSY.features[0], Feature("member", 0, 1, "boolean", ("0", "1"), nullable=True), *MESSY.features[2:])
    found = rows(f"{HEAD}1,1.0,,,2\n1,,,,2\n1,0,,,2\n", facts_of(msgspec.structs.replace(MESSY, features=features)))
    np.testing.assert_array_equal(found[:, 1], [1, np.nan, 0])


def test_columns_of_the_data_that_the_model_does_not_take_may_be_there_and_nullable_ones_may_be_left_out() -> None:
    model = facts_of(msgspec.structs.replace(MESSY, unused=("price",)))
    np.testing.assert_array_equal(rows("price,mass,member\nhigh,7,no\n", model)[0], [np.nan, 0, np.nan, np.nan, np.nan, 7])


def test_a_category_that_is_a_number_is_found_however_the_number_is_written_unless_it_is_a_code() -> None:
    found = rows(f"{HEAD}1,no,3,,2\n1,no,3.0,,2\n1,no,3e0,,2\n1,no,03,,2\n1,no,3.5,,2\n")
    assert found[:, 2].tolist() == [3, 3, 3, 0, 0]
    texts = msgspec.structs.replace(MESSY.features[2], categories=("3", "3.0"))
    both = msgspec.structs.replace(MESSY, features=(*MESSY.features[:2], texts, *MESSY.features[3:]))
    assert rows(f"{HEAD}1,no,3.0,,2\n", facts_of(both))[0, 2] == 2


PLAIN = ",".join(FEATURES) + "\n"


@pytest.mark.parametrize(
    ("text", "model", "field", "message"),
    [
        # cells
        (f"{HEAD}1,yes,a,,2\nold,yes,a,,2\n", messy, "rows[1].age", 'expected a number, got "old"'),
        (f"{HEAD}1,maybe,a,,2\n", messy, "rows[0].member", 'expected true or false, "no" or "yes", got "maybe"'),
        (f"{HEAD}1,yes,a,soon,2\n", messy, "rows[0].joined", DATE + '"soon"'),
        (f"{HEAD}1,yes,a,,\n", messy, "rows[0].mass", "is empty, and no row that the model learned from lacked it"),
        (f"{HEAD}NaN,yes,a,,2\n", messy, "rows[0].age", 'expected a number, got "NaN"'),
        (f"{PLAIN}1,2,3\n1,,3\n", table, "rows[1].body mass", "is empty, and no row"),
        (f"{PLAIN}1,2,3\n1,-Infinity,3\n", table, "rows[1].body mass", 'expected a number, got "-Infinity"'),
        (f"{PLAIN}1,1_000,3\n", table, "rows[0].body mass", 'expected a number, got "1_000"'),
        (f"{PLAIN}1,٣,3\n", table, "rows[0].body mass", 'expected a number, got "٣"'),
        (f"{PLAIN}1,0x10,3\n", table, "rows[0].body mass", 'expected a number, got "0x10"'),
        (f"{PLAIN}1,1e999,3\n", table, "rows[0].body mass", "the number does not fit into 32-bit"),
        (f"{PLAIN}1,2,{'9' * 5000}\n", table, "rows[0].größe.cm[1]", "the number does not fit into 32-bit"),
        # lines
        (f"{PLAIN}1,2,3\n1,2\n", table, "rows[1]", "expected 3 cells as in the header, got 2"),
        (f"{PLAIN}1,2,3,4\n", table, "rows[0]", "expected 3 cells as in the header, got 4"),
        (f"{PLAIN}1,2,3\n\n1,2,3\n", table, "rows[1]", "an empty line stands before this one; leave it out"),
        (PLAIN, table, "rows", "must hold at least one row"),
        (f'{PLAIN}1,2,"3\n', table, None, "line 2 is no CSV: unexpected end of data"),
        (f'{PLAIN}1,2,"3"x\n', table, None, "line 2 is no CSV: "),
        (f"{PLAIN}1,2,{'9' * 200_000}\n", table, None, "line 2 is no CSV: field larger than field limit"),
        # header
        ("age,body mass\n1,2\n", table, "header.größe.cm[1]", "required, but missing"),
        (f"color,{PLAIN}1,1,2,3\n", table, "header.color", "the model has no such feature; GET /info lists its features"),
        (f"age,{PLAIN}1,1,2,3\n", table, "header.age", "the column is there twice; send it once"),
        (
            "age;body mass;größe.cm[1]\n1;2;3\n",
            table,
            "header.age;body mass;größe.cm[1]",
            "the model has no such feature; cells are",
        ),
        ("", table, None, "the body is empty; send CSV with the features' names in its first line"),
        ("\n \n", table, None, "the body is empty; "),
        (b"age\xff\n1\n", table, None, "the body is not UTF-8 (byte 3); send CSV in UTF-8"),
        (f"{PLAIN}1,2,3\n".encode("utf-16"), table, None, "the body is not UTF-8 (byte 0); send CSV in UTF-8"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(text: Any, model: Any, field: str | None, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rows(text, model)
    assert caught.value.field == field
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


def test_a_model_of_images_takes_no_table() -> None:
    with pytest.raises(UnsupportedMedia, match="^this model takes images"):
        rows("0\n1\n", facts_of(IMAGE))


@pytest.mark.parametrize("lines", ["1,2,3\n" * 5, "," * 12, '"1","2","3"\n' * 5])
def test_more_values_than_a_request_may_hold_are_too_large(lines: str) -> None:
    model = facts_of(TABLE, values=12)
    assert len(rows(PLAIN + "1,2,3\n" * 3, model)) == 3
    with pytest.raises(TooLarge) as caught:
        rows(PLAIN + lines, model)
    assert caught.value.field == "rows"


cells = st.tuples(
    st.none() | st.floats(-1e30, 1e30) | st.integers(-(2**60), 2**60),
    st.sampled_from(["yes", "no", "true", "FALSE"]),
    st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc", "Nd"]), min_size=1, max_size=6) | st.integers(0, 9),
    st.none() | st.datetimes().map(lambda moment: moment.isoformat()),
    st.floats(-1e30, 1e30),
)


@given(sent=st.lists(cells.map(list), min_size=1, max_size=5))
def test_rows_as_csv_are_the_rows_that_the_same_records_are(sent: list[list[Any]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([NAMES, *sent])
    expected = Decoder(MESSY).decode(json.dumps({"inputs": sent}).encode())
    np.testing.assert_array_equal(rows(buffer.getvalue()), expected)


@given(body=st.binary(max_size=60) | st.text(st.sampled_from('1,"\n\r .e-aß;\0'), max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_refused(body: bytes) -> None:
    for head, model in ((PLAIN, table), (HEAD, messy), ("", table)):
        try:
            found = rows(head.encode() + body, model)
        except Refusal:
            continue
        assert found.shape == (len(found), *model.schema.shape)
