"""Tables that cannot be used, each with its exact message; none ends in a traceback."""

import gzip
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.data_sections import TableData
from pipeline.data.columns.inference import infer_columns
from pipeline.data.sources.parquet import from_frame, open_parquet
from pipeline.data.sources.text_files import open_text
from pipeline.data.table import Table
from pipeline.errors import DataError

DOUBLE = 'double quotes inside of quoted cells (""), or set data.quote=none if they are letters'
RAGGED = "repair them; a cell that contains the delimiter must be quoted"
BROKEN: dict[str, tuple[bytes, list[str]]] = {
    "an empty file": (b"", ["t.csv: the file is empty; a header line and rows are needed"]),
    "blank lines": (b"\n\n", ["t.csv: the file has blank lines only; a header line and rows are needed"]),
    "a header alone": (b"a,y\n", ["t.csv: a header line and no rows; rows are needed"]),
    "a name twice": (b"a,y,a,a\n1,2,3,4\n", ["t.csv: line 1: 3 columns are called 'a'; rename them"]),
    "an empty name": (
        b",a,y\n0,1,2\n",
        [
            (
                "t.csv: line 1: cell 1 of the header is empty; name the column (a file written by pandas has its index there: "
                "write it with index=False)"
            )
        ],
    ),
    "a name that JSON cannot carry": (
        b'"a""b",y\n1,2\n',
        ["t.csv: line 1: column name 'a\"b' has quotes, backslashes or control characters; rename it"],
    ),
    "ragged rows": (
        b'a,b,y\n1,"x\ny",3\n1,2\n\n1,2,3,4\n1,2,3\n',
        [
            "t.csv: line 4: 2 cells where the header has 3",
            f"t.csv: line 6: 4 cells where the header has 3; {RAGGED}",
        ],
    ),
    "many ragged rows": (
        b"a,y\n1,2\n" + b"1\n" * 9,
        [f"t.csv: line {line}: 1 cell where the header has 2" for line in range(3, 7)]
        + [f"t.csv: line 7: 1 cell where the header has 2 (9 such lines); {RAGGED}"],
    ),
    "a quote that never closes": (
        b'a,y\nx,1\n"z,2\nw,3\n',
        ['t.csv: line 3: a quoted cell begins and never ends; close its quote ", or set data.quote=none if quotes are letters'],
    ),
    "a quote within a cell": (
        b'a,y\n"x",1\n6" pipe,2\n7" pipe,3\n',
        [f"t.csv: line 3: a quote inside of a cell: '6\" pipe,2'; {DOUBLE}"],
    ),
    "a NUL byte": (
        b"a,y\nx,1\n\0,2\n",
        ["t.csv: line 3: a NUL byte; the file is binary or in another encoding: name it as data.encoding, such as utf-16"],
    ),
    "bytes that are not UTF-8": (
        b"a,y\nx,1\nZ\xfcrich,2\n",
        [
            (
                "t.csv: line 3: the bytes fc 72 69 63 at offset 9 are not UTF-8 (as latin-1: 'üric'); name the encoding, such "
                "as data.encoding=latin-1"
            )
        ],
    ),
    "a target that is not there": (
        b"a,Y2,b\n1,2,3\n",
        ["t.csv: data.target: no column is called 'y'; did you mean 'Y2'? there are 'a', 'Y2', 'b'"],
    ),
    "no delimiter": (
        b"y\n1\n2\n",
        [
            (
                "t.csv: line 1: no comma, semicolon, tab or bar separates the cells of the header ('y'); name what does as "
                "data.delimiter; a table needs a target and at least one other column"
            )
        ],
    ),
    "a Parquet file": (b"PAR1....", ["t.csv: this is a Parquet file; name it .parquet"]),
    "an Excel file": (b"PK\x03\x04....", ["t.csv: this is a zip or Excel file; unpack it, or save the sheet as CSV"]),
}


def message(folder: Path, run: object) -> list[str]:
    with pytest.raises(DataError) as caught:
        run()  # type: ignore[operator]
    return [line.replace(f"{folder}/", "") for line in caught.value.lines]


def read(path: Path, **keys: object) -> Table:
    section = TableData.model_validate({"path": str(path), "target": "y", **keys})
    return open_text(section, path.parent / "scratch", tell=lambda _done, _total: None)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_text_file_is_named_with_its_line(tmp_path: Path, fault: str) -> None:
    data, lines = BROKEN[fault]
    (tmp_path / "t.csv").write_bytes(data)
    assert message(tmp_path, lambda: read(tmp_path / "t.csv")) == lines


def test_a_file_that_is_not_there_names_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "other.csv").touch()
    assert message(tmp_path, lambda: read(tmp_path / "t.csv")) == [
        f"data.path: there is no file t.csv; {tmp_path} has other.csv"
    ]


def test_a_folder_is_no_text_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert message(tmp_path, lambda: read(tmp_path / "sub")) == [
        "data.path: sub is a folder; name one text file, or a folder of .parquet files"
    ]


def test_gzip_files_that_are_none_or_are_cut_off(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(b"a,y\n1,2\n")
    assert message(tmp_path, lambda: read(tmp_path / "t.csv.gz")) == [
        "t.csv.gz: no gzip file, though it is called .gz (it begins with b'a,y\\n'); rename or pack it"
    ]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,y\n" + b"1,2\n" * 1_000)[:-12])
    (line,) = message(tmp_path, lambda: read(tmp_path / "t.csv.gz"))
    assert line.startswith("t.csv.gz: the gzip file is damaged or cut off (")


def test_keys_that_do_not_fit_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    assert message(tmp_path, lambda: read(tmp_path / "t.csv", delimiter=";")) == [
        (
            "t.csv: line 1: data.delimiter ';' does not occur in the header ('a,y'); name the one that does, or use "
            "data.delimiter=auto"
        )
    ]
    assert message(tmp_path, lambda: read(tmp_path / "t.csv", encoding="latin-99")) == [
        "data.encoding: no encoding is called 'latin-99'; use auto, utf-8, latin-1, cp1252 or utf-16"
    ]


def test_files_of_other_splits_with_other_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    (tmp_path / "v.csv").write_text("b,y\n1,2\n")
    assert message(tmp_path, lambda: read(tmp_path / "t.csv", validation_path=str(tmp_path / "v.csv"))) == [
        "v.csv: lacks 'a' and has 'b', too; its columns must be those of the train rows"
    ]


def test_shards_of_parquet_that_differ(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "y": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": ["x"], "y": [1]}).write_parquet(tmp_path / "2.parquet")
    assert message(tmp_path, lambda: open_parquet(TableData(path=str(tmp_path), target="y"))) == [
        "2.parquet: column 'a' is String, and Int64 in 1.parquet; write both alike"
    ]
    (tmp_path / "2.parquet").write_bytes(b"nothing of the kind")
    (line,) = message(tmp_path, lambda: open_parquet(TableData(path=str(tmp_path), target="y")))
    assert line.startswith("2.parquet: no Parquet file, or a damaged one (")


@pytest.mark.parametrize(
    ("columns", "keys", "line"),
    [
        ({"a": [1, 2], "y": [None, None]}, {}, "data: target 'y' is missing in every row; name another as data.target"),
        ({"a": [1, 2], "y": ["k", "k"]}, {}, "data: target 'y' is 'k' in every row; there is nothing to learn"),
        (
            {"a": ["1", "x"], "y": [0, 1]},
            {"columns": {"a": "number"}},
            (
                "data: row 1: column 'a' is 'x', and data.columns.a is number; repair it, add the word to data.missing, or "
                "declare another kind"
            ),
        ),
        (
            {"plan": ["k", "l"], "y": [0, 1]},
            {"columns": {"plans": "category"}},
            "t: data.columns: no column is called 'plans'; did you mean 'plan'? there are 'plan', 'y'",
        ),
        (
            {"a": [1, 2], "y": ["1.5", "x"]},
            {"task": "regression"},
            (
                "data: row 1: target 'y' is 'x', which is no number, and data.task is regression; repair it, add the word to "
                "data.missing, or set data.task=classification"
            ),
        ),
        (
            {"a": list(range(1_001)), "y": [f"k{row}" for row in range(1_001)]},
            {},
            (
                "data: target 'y' has 1,001 classes, 1,000 at most; merge rare ones, name another target, or set "
                "data.task=regression if it is a number"
            ),
        ),
        (
            {"a": [5, 5], "y": [0, 1]},
            {},
            "data: t: no column is left to learn from; 'a': constant: 5",
        ),
    ],
)
def test_columns_that_nothing_can_be_learned_from(columns: dict[str, list[object]], keys: dict[str, object], line: str) -> None:
    keywords = {"target": "y", "task": "auto", "columns": {}, "leave_out": {}, **keys}
    with pytest.raises(DataError) as caught:
        infer_columns(from_frame(columns, "t"), **keywords)  # type: ignore[arg-type]
    assert caught.value.lines == (line,)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [b"a", b",", b";", b"\n", b"\r\n", b'"', b"'", b"0", b"1.5", b" ", b"\xc3\xa9", b"\xff", b"inf", b"\t"]
        ),
        max_size=40,
    )
)
def test_whatever_a_file_holds_it_is_a_table_or_a_fault_with_words(tmp_path: Path, pieces: list[bytes]) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,y\n" + b"".join(pieces))
    with suppress(DataError):  # any other error fails
        table = read(tmp_path / "t.csv")
        assert table.frame.collect().height == table.rows
