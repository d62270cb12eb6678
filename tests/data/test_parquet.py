from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pipeline.config.data_sections import TableData
from pipeline.data.columns.inference import infer_columns
from pipeline.data.sources.parquet import from_frame, open_parquet
from pipeline.errors import DataError


def section(path: Path, **keys: object) -> TableData:
    return TableData.model_validate({"path": str(path), "target": "y", **keys})


def test_every_readable_type_becomes_one_of_a_tables(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "small": pl.Series([1, 2], dtype=pl.UInt8),
            "half": pl.Series([0.5, float("nan")], dtype=pl.Float32),
            "money": [Decimal("1.25"), None],
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "level": pl.Series(["lo", "hi"], dtype=pl.Enum(["lo", "hi"])),
            "flag": [True, None],
            "day": [date(2026, 1, 2), None],
            "moment": pl.Series([datetime(2026, 1, 2, 12, tzinfo=UTC), None]).dt.convert_time_zone("Asia/Tokyo"),
            "text": ["x", "  "],
            "nothing": [None, None],
            "y": [1, 0],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    table = open_parquet(section(tmp_path / "t.parquet"))
    assert table.frame.collect().to_dict(as_series=False) == {
        "small": [1, 2],
        "half": [0.5, None],
        "money": [1.25, None],
        "kind": ["a", "b"],
        "level": ["lo", "hi"],
        "flag": [True, None],
        "day": [date(2026, 1, 2), None],
        "moment": [datetime(2026, 1, 2, 12), None],
        "text": ["x", None],
        "nothing": [None, None],
        "y": [1, 0],
    }
    plain = {pl.Int64, pl.Float64, pl.String, pl.Boolean, pl.Date, pl.Datetime("us")}
    assert set(table.frame.collect_schema().values()) <= plain
    assert table.findings == ()


def test_types_that_no_model_reads_are_left_out_and_are_no_target(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "tags": [["x"], []], "raw": [b"1", b"2"], "y": [0, 1]}).write_parquet(tmp_path / "t.parquet")
    table = open_parquet(section(tmp_path / "t.parquet"))
    assert table.frame.collect_schema().names() == ["a", "y"]
    assert [(finding.check, finding.verdict, finding.column) for finding in table.findings] == [
        ("unreadable_type", "WARN", "tags"),
        ("unreadable_type", "WARN", "raw"),
    ]
    with pytest.raises(DataError, match="column 'tags' is of type List\\(String\\), which no model reads"):
        open_parquet(section(tmp_path / "t.parquet", target="tags"))
    with pytest.raises(DataError, match="data.target: column 'tags' is of type List"):
        infer_columns(table, target="tags", task="auto", columns={}, leave_out={})


def test_shards_follow_in_the_order_of_their_names_and_numbers_meet_in_the_wider_type(tmp_path: Path) -> None:
    pl.DataFrame({"a": [2.5], "y": [2]}).write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({"y": pl.Series([0, 1], dtype=pl.Int32), "a": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"a": [9], "y": [3]}).write_parquet(tmp_path.parent / "test.parquet")
    table = open_parquet(section(tmp_path, test_path=str(tmp_path.parent / "test.parquet")))
    assert table.rows == 4
    assert table.frame.collect().to_dict(as_series=False) == {"y": [0, 1, 2, 3], "a": [1.0, 2.0, 2.5, 9.0]}
    assert [table.place(row) for row in (1, 2, 3)] == ["a.parquet row 1", "b.parquet row 0", "test.parquet row 0"]
    assert table.given is not None
    assert table.given.tolist() == [0, 0, 0, 2]


def test_integers_that_no_float_holds_are_texts() -> None:
    table = from_frame({"card": [2**53 + 1, 5], "y": [0, 1]}, "t")
    assert table.frame.collect()["card"].to_list() == [str(2**53 + 1), "5"]
    assert [finding.check for finding in table.findings] == ["large_integers"]


def test_dates_that_no_calendar_of_four_digits_has_are_missing_with_a_warning() -> None:
    days = pl.Series("day", [18_000, 3_000_000, None], dtype=pl.Int32).cast(pl.Date)
    moments = pl.Series("moment", [10**15, 9 * 10**17, None]).cast(pl.Datetime("us"))
    table = from_frame(pl.DataFrame([days, moments]), "t")
    assert [finding.text.split(";")[0] for finding in table.findings] == [
        f"column {name!r} has dates outside of the years 1 to 9999" for name in ("day", "moment")
    ]
    assert table.frame.collect().null_count().row(0) == (2, 2)


def test_infinite_numbers_are_a_failure_that_names_rows() -> None:
    table = from_frame({"a": [1.0, float("inf"), float("nan")], "y": [0, 1, 0]}, "t")
    assert table.frame.collect()["a"].to_list() == [1.0, None, None]
    (finding,) = table.findings
    assert (finding.verdict, finding.rows) == ("FAIL", (1,))
    assert finding.text == "column 'a' has NaN or infinite values in 1 row: row 1"


def test_frames_of_pandas_mappings_and_polars_are_one_table() -> None:
    columns = {"n": [1.5, np.nan], "s": ["a", None], "k": ["x", "y"]}
    pandas = pd.DataFrame(columns).astype({"s": object, "k": "category"})
    tables = [
        from_frame(pandas, "t"),
        from_frame(pl.DataFrame({"n": [1.5, None], "s": ["a", None], "k": ["x", "y"]}), "t"),
        from_frame({"n": np.array([1.5, np.nan]), "s": np.array(["a", None], dtype=object), "k": np.array(["x", "y"])}, "t"),
    ]
    for table in tables:
        assert table.frame.collect().to_dict(as_series=False) == {"n": [1.5, None], "s": ["a", None], "k": ["x", "y"]}
        assert table.place(1) == "row 1"


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ({"a": [1, 2], "y": [1]}, "t: columns of different lengths: 'a' has 2, 'y' has 1 cells"),
        ({"a": [], "y": []}, "t: no rows; rows are needed"),
        ([1, 2], "t: a data frame or a dict of columns is needed, got list"),
        ({"": [1], "y": [1]}, "t: cell 1 of the header is empty"),
        ({"a": [1, "x"], "y": [1, 2]}, "t: column 'a' has cells that make no column"),
    ],
)
def test_what_is_no_frame_is_refused(frame: object, line: str) -> None:
    with pytest.raises(DataError) as caught:
        from_frame(frame, "t")
    assert caught.value.lines[0].startswith(line)


def test_files_of_both_sorts_do_not_mix(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "y": [1]}).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "v.csv").write_text("a,y\n1,2\n")
    with pytest.raises(DataError, match="v.csv is no .parquet file, as data.path is"):
        open_parquet(section(tmp_path / "t.parquet", validation_path=str(tmp_path / "v.csv")))
