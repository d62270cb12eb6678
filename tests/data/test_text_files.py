import csv
import gzip
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.data_sections import TableData
from pipeline.data.sources import byte_blocks
from pipeline.data.sources.text_files import open_text
from pipeline.data.table import Table
from pipeline.errors import DataError
from tests.data.messy import HEADER, messy_rows, write_messy


def open_bytes(folder: Path, data: bytes | str, *, name: str = "t.csv", target: str = "y", **keys: object) -> Table:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    section = TableData.model_validate({"path": str(path), "target": target, **keys})
    return open_text(section, folder / "scratch", tell=lambda _done, _total: None)


def cells(table: Table) -> dict[str, list[object]]:
    return table.frame.collect().to_dict(as_series=False)


def types(table: Table) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in table.frame.collect_schema().items()}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found_though_quoted_cells_hold_them(tmp_path: Path, delimiter: str) -> None:
    text = f'a;b{delimiter}y\n"x,;\t|x"{delimiter}1\n"z{delimiter}{delimiter}"{delimiter}2\n'.replace("a;b", "ab")
    assert cells(open_bytes(tmp_path, text)) == {"ab": ["x,;\t|x", f"z{delimiter}{delimiter}"], "y": [1, 2]}


def test_the_messy_file_reads_as_the_csv_module_reads_it(tmp_path: Path) -> None:
    table = open_bytes(tmp_path, write_messy(tmp_path / "m.csv", 400).read_bytes(), target="churned")
    rows = table.frame.select(pl.all().cast(pl.String)).collect().rows()
    numbers = {"customer_id", "age", "income", "visits"}
    for row, expected in zip(rows, messy_rows(400), strict=True):
        for name, found, wanted in zip(HEADER, row, expected, strict=True):
            if wanted in {"", "NA", "n/a"}:
                assert found is None
            elif name in numbers:
                assert float(found) == float(wanted)
            else:
                assert found == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.text(st.sampled_from('ab ,;"\n0é'), max_size=6), st.integers(0, 99)), min_size=1, max_size=12),
    delimiter=st.sampled_from([",", ";", "|"]),
)
def test_texts_of_any_content_come_back_and_lines_are_those_of_an_editor(
    tmp_path: Path, rows: list[tuple[str, int]], delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["name", "y"])
    lines = []
    for text, number in rows:
        lines.append(out.getvalue().count("\n") + 1)
        writer.writerow(["q" + text, number])
    table = open_bytes(tmp_path, out.getvalue(), delimiter=delimiter)
    assert cells(table) == {"name": ["q" + text for text, _ in rows], "y": [number for _, number in rows]}
    assert [table.place(row) for row in range(len(rows))] == [f"line {line}" for line in lines]


def test_blocks_of_any_size_give_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_messy(tmp_path / "m.csv", 300).read_bytes()
    whole = open_bytes(tmp_path / "whole", data, target="churned")
    expected = whole.frame.collect()
    for size in (97, 1_024, 5_000):
        monkeypatch.setattr(byte_blocks, "BLOCK_BYTES", size)
        table = open_bytes(tmp_path / str(size), data, target="churned")
        assert table.frame.collect().equals(expected)
        assert [table.place(row) for row in range(300)] == [whole.place(row) for row in range(300)]


@pytest.mark.parametrize(
    ("column", "dtype", "values"),
    [
        ("1\n-2\n+3", "Int64", [1, -2, 3]),
        ("1\n2.5\n1e3", "Float64", [1.0, 2.5, 1000.0]),
        ("1\n2\n007", "String", ["1", "2", "007"]),
        ("1.5\n2\n007", "String", ["1.5", "2", "007"]),
        ('1\n"007"\n3', "String", ["1", "007", "3"]),
        ("0.5\n-0.25\n0", "Float64", [0.5, -0.25, 0.0]),
        ("1\n2\n1234567890123456", "String", ["1", "2", "1234567890123456"]),
        ("1.5\n2\n12345678901234567890", "String", ["1.5", "2", "12345678901234567890"]),
        ('"1,000"\n2\n3', "String", ["1,000", "2", "3"]),
        ("1\n NA \n3", "Int64", [1, None, 3]),
        ('1\n"?"\n3', "Int64", [1, None, 3]),
        ("1 \n 2\n3", "Int64", [1, 2, 3]),
        ('x\n"NA"\n ', "String", ["x", None, None]),
        ("x\nNA\nNAN", "String", ["x", None, "NAN"]),
        ("1.5\nNA\n2", "Float64", [1.5, None, 2.0]),
        ("1e308\n1e308\n-5", "Float64", [1e308, 1e308, -5.0]),
        ("yes\nno\nyes", "String", ["yes", "no", "yes"]),
        ("1_0\n2\n3", "String", ["1_0", "2", "3"]),
        ("\n\n", "Int64", [None, None, None]),
    ],
)
def test_a_column_is_what_all_of_its_cells_are(tmp_path: Path, column: str, dtype: str, values: list[object]) -> None:
    text = "a,y\n" + "".join(f"{cell},{row}\n" for row, cell in enumerate(column.split("\n")))
    table = open_bytes(tmp_path, text)
    assert types(table)["a"] == dtype
    assert cells(table)["a"] == values


@pytest.mark.parametrize(("late", "dtype", "first"), [("n.v.", "String", "0010"), ("0.5", "Float64", 10.0)])
def test_a_cell_at_the_very_end_changes_the_type_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str, dtype: str, first: object
) -> None:
    monkeypatch.setattr(byte_blocks, "BLOCK_BYTES", 512)
    head = "+10" if dtype == "String" else "10"
    text = "a,y\n" + "".join(f"{head},{row}\n" for row in range(1_000)) + f"{late},1\n"
    table = open_bytes(tmp_path, text)
    assert types(table) == {"a": dtype, "y": "Int64"}
    found = cells(table)["a"]
    assert found[0] == ("+10" if dtype == "String" else first)
    assert found[-1] == (late if dtype == "String" else 0.5)


def test_decimal_commas_are_found_and_points_are_then_no_fractions(tmp_path: Path) -> None:
    table = open_bytes(tmp_path, "a;b;y\n1,5;1.000;1\n2;2.000;2\n-,5;3.000;3\n")
    assert types(table) == {"a": "Float64", "b": "String", "y": "Int64"}
    assert cells(table)["a"] == [1.5, 2.0, -0.5]
    assert cells(open_bytes(tmp_path / "named", "a;y\n1.5;1\n2,5;2\n", decimal=","))["a"] == ["1.5", "2,5"]


def test_bytes_of_other_encodings_need_their_name(tmp_path: Path) -> None:
    text = "name,y\nZürich,1\nGenève,2\n"
    expected = {"name": ["Zürich", "Genève"], "y": [1, 2]}
    assert cells(open_bytes(tmp_path / "a", b"\xef\xbb\xbf" + text.encode())) == expected
    assert cells(open_bytes(tmp_path / "b", text.encode("utf-16"))) == expected
    assert cells(open_bytes(tmp_path / "c", text.encode("latin-1"), encoding="latin-1")) == expected
    assert cells(open_bytes(tmp_path / "d", text.encode("cp1252"), encoding="cp1252")) == expected
    with pytest.raises(DataError, match="not UTF-8"):
        open_bytes(tmp_path / "e", text.encode("latin-1"))


def test_gzip_line_ends_of_windows_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    expected = {"a": ["x\ny", "z"], "y": [1, 2]}
    text = '\n\na,y\n"x\ny",1\n\nz,2\n\n'
    for number, data in enumerate((text.encode(), text.replace("\n", "\r\n").encode(), text.rstrip().encode())):
        table = open_bytes(tmp_path / str(number), data)
        assert cells(table) == expected
        assert [table.place(0), table.place(1)] == ["line 4", "line 7"]
    assert cells(open_bytes(tmp_path / "gz", gzip.compress(text.encode()), name="t.csv.gz")) == expected


def test_quotes_in_the_middle_of_cells_are_letters_where_none_begins_a_cell(tmp_path: Path) -> None:
    assert cells(open_bytes(tmp_path, 'size,y\n6" pipe,1\n5" pipe,2\n'))["size"] == ['6" pipe', '5" pipe']
    assert cells(open_bytes(tmp_path, "a,y\n'x,y',1\nz,2\n"))["a"] == ["x,y", "z"]
    assert cells(open_bytes(tmp_path, 'a,y\n"x,1\nz,2\n', quote="none"))["a"] == ['"x', "z"]


def test_files_of_other_splits_are_read_alike_and_follow_in_order(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("y;a\n3;x\n")
    (tmp_path / "e.csv").write_text("a;y\n9;4\n8;5\n")
    table = open_bytes(tmp_path, "a;y\n1;1\n2;2\n", validation_path=str(tmp_path / "v.csv"), test_path=str(tmp_path / "e.csv"))
    assert cells(table) == {"a": ["1", "2", "x", "9", "8"], "y": [1, 2, 3, 4, 5]}
    assert table.given is not None
    assert table.given.tolist() == [0, 0, 1, 2, 2]
    assert [table.place(row) for row in (0, 2, 4)] == ["t.csv line 2", "v.csv line 2", "e.csv line 3"]
    alone = open_bytes(tmp_path, "a;y\n1;1\n", test_path=str(tmp_path / "e.csv"))
    assert alone.given is not None
    assert alone.given.tolist() == [0, 2, 2]


def test_infinite_numbers_are_named_by_line_and_count_as_missing(tmp_path: Path) -> None:
    table = open_bytes(tmp_path, "a,y\n1.5,1\ninf,2\n-Infinity,3\n1e999,4\n")
    assert cells(table)["a"] == [1.5, None, None, None]
    (finding,) = table.findings
    assert (finding.check, finding.verdict, finding.rows) == ("not_finite", "FAIL", (1, 2, 3))
    assert finding.text == "column 'a' has NaN or infinite values in 3 rows: line 3, line 4, line 5"


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = write_messy(tmp_path / "m.csv", 50)
    open_text(TableData(path=str(path), target="churned"), tmp_path / "s", tell=lambda done, total: seen.append((done, total)))
    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert np.all(np.diff([done for done, _ in seen]) >= 0)
