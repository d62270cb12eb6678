"""What the index says of a block is what one reads who goes from byte to byte."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.sources import bits
from pipeline.data.sources.records import Marks, Misquoted, Ragged, Records, index

MARKS = Marks(ord(","), ord('"'))
WORDS = ["NA", "?", "null", "né", "NAN"]
PIECES = ["a", "0", "07", "+", "-", " ", "\t", "\u00a0", "é", ".", "9" * 70, "NA", "?", "null", "né", "n"]
plain = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
quoted = st.lists(st.sampled_from([*PIECES, ",", "\n", '""']), max_size=4).map(lambda parts: f'"{"".join(parts)}"')
tables = st.integers(2, 4).flatmap(
    lambda cells: st.lists(st.lists(plain | quoted, min_size=cells, max_size=cells), min_size=1, max_size=40)
)


def block_of(rows: list[list[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def places(records: Records, rows: list[list[str]], pattern: str) -> set[int]:
    return {column for column in range(records.cells) for row in rows if re.search(pattern, row[column])}


@settings(max_examples=300, deadline=None)
@given(rows=tables)
def test_cells_lines_and_what_is_odd_about_them_are_found(rows: list[list[str]]) -> None:
    data = block_of(rows)
    records = index(data, MARKS, cells=len(rows[0]))
    columns = range(records.cells)
    assert [[records.cell(row, column).decode() for column in columns] for row in range(len(records))] == rows
    lines = [block_of(rows[:row]).count(b"\n") for row in range(len(rows))]
    assert (list(range(len(rows))) if records.lines is None else records.lines.tolist()) == lines
    assert records.padded(columns) == places(records, rows, '^[ \t"\u00a0]|[ \t"\u00a0]$')
    assert set(records.zero_led(columns)) == places(records, rows, r'^"?[+]?-?0[0-9]')
    found = set(records.words(WORDS))
    assert found >= {word for word in WORDS for row in rows if word in row or f'"{word}"' in row}
    assert found <= {word for word in WORDS for row in rows for cell in row if re.match(f'"?{re.escape(word)}("|$)', cell)}


@settings(max_examples=100, deadline=None)
@given(rows=tables, cells=st.integers(1, 5), at=st.integers(0, 39))
def test_a_record_of_another_width_is_refused_with_its_line_and_width(rows: list[list[str]], cells: int, at: int) -> None:
    at %= len(rows)
    odd = [*rows[:at], ["x"] * cells, *rows[at:]]
    if cells == len(rows[0]):
        assert len(index(block_of(odd), MARKS, cells=cells)) == len(odd)
        return
    with pytest.raises(Ragged) as caught:
        index(block_of(odd), MARKS, cells=len(rows[0]))
    assert caught.value.found == [(block_of(rows[:at]).count(b"\n"), cells)]


def test_a_short_record_and_a_long_one_do_not_make_up_for_each_other() -> None:
    for data in (b"1,2,3\n1,2\n1,2,3,4\n", b"1,2\n1,2,3,4\n", b"1,2,3,4,5,6\n", b"1\n2\n3\n"):
        with pytest.raises(Ragged):
            index(data, MARKS, cells=3)


@settings(max_examples=100, deadline=None)
@given(rows=tables, inside=st.sampled_from(['a"a', 'a""a', '"a"a', '"a"a"']))
def test_a_quote_inside_of_a_cell_is_refused_with_its_line(rows: list[list[str]], inside: str) -> None:
    data = block_of([*rows, [inside + '"' * (inside.count('"') % 2), *["x"] * (len(rows[0]) - 1)]])
    with pytest.raises(Misquoted) as caught:
        index(data, MARKS, cells=len(rows[0]))
    assert caught.value.line == block_of(rows).count(b"\n")


def test_pieces_of_any_size_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[f"{row:03}", f'"{row},\n"', "NA" * (row % 3), " x" * (row % 7)] for row in range(500)]
    data = block_of(rows)
    whole = index(data, MARKS, cells=4)
    monkeypatch.setattr(bits, "_PIECE", 128)
    pieces = index(data, MARKS, cells=4)
    assert pieces.ends.tolist() == whole.ends.tolist()
    assert pieces.words(WORDS) == whole.words(WORDS) == ["NA"]
    assert pieces.padded(range(4)) == whole.padded(range(4)) == {1, 3}
    assert set(pieces.zero_led(range(4))) == {0}
