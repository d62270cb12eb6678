import random
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.config.data_sections import ColumnKind, DataTask, Kind, Names, TableData
from pipeline.data.columns import facts as column_facts
from pipeline.data.columns import kinds as column_kinds
from pipeline.data.columns.inference import encode_target, has_target, infer_columns
from pipeline.data.sources.parquet import from_frame
from pipeline.data.sources.text_files import open_text
from pipeline.data.table import Column, Columns
from pipeline.errors import DataError
from serving.columns import encode
from tests.data.messy import write_messy

ROWS = 100


def infer(
    data: Mapping[str, Any], *, target: Names = "y", task: DataTask = "auto", columns: Mapping[str, ColumnKind] | None = None
) -> Columns:
    rows = len(next(iter(data.values())))
    whole = dict(data) if "y" in data else {**data, "y": [row % 2 for row in range(rows)]}
    whole.setdefault("other", [row % 7 + 0.5 for row in range(rows)])
    return infer_columns(from_frame(whole, "t"), target=target, task=task, columns=columns or {}, leave_out={})


def repeat(*cells: Any, rows: int = ROWS) -> list[Any]:
    return [cells[row % len(cells)] for row in range(rows)]


def kind_of(found: Columns, name: str) -> Column:
    return next(column for column in found.features if column.name == name)


def test_the_messy_file_is_understood(tmp_path: Path) -> None:
    section = TableData(path=str(write_messy(tmp_path / "m.csv", 600)), target="churned")
    table = open_text(section, tmp_path / "s", tell=lambda _done, _total: None)
    found = infer_columns(table, target="churned", task="auto", columns={}, leave_out={})
    assert [(column.name, column.kind, column.nullable) for column in found.features] == [
        ("age", "number", True),
        ("income", "number", True),
        ("city", "category", True),
        ("plan", "category", False),
        ("active", "boolean", True),
        ("joined", "date", False),
        ("visits", "number", False),
        ("region", "category", True),
    ]
    assert kind_of(found, "active").categories == ("no", "yes")
    assert (found.target.task, found.target.classes) == ("classification", ("no", "yes"))
    assert set(found.ignored) == {"customer_id", "note"}
    assert [finding.check for finding in found.findings] == ["identifier", "free_text"]
    labels = encode_target(table.frame.collect(), found.target)
    assert labels.dtype == np.int64
    assert 0.05 < labels.mean() < 0.25


@pytest.mark.parametrize("size", [ROWS, 200])
@pytest.mark.parametrize("listed", [0, 20_000])
@pytest.mark.parametrize(
    ("cells", "kind", "date_format"),
    [
        (("Yes", "no", "yes", None), "boolean", None),
        (("ja", "nein"), "boolean", None),
        ((True, False), "boolean", None),
        ((0, 1), "number", None),
        (("red", "green", "blue"), "category", None),
        (("2026-01-31", "2025-12-01"), "date", None),
        (("2026-01-31T10:00:00", "2025-12-01T23:59:59Z"), "date", None),
        (("31/01/2026", "01/02/2026"), "date", "%d/%m/%Y"),
        (("01/31/2026", "01/02/2026"), "date", "%m/%d/%Y"),
        (("31.01.2026 10:00", "01.02.2026 00:30"), "date", "%d.%m.%Y %H:%M"),
        (("01310", "8001"), "category", None),
    ],
)
def test_kinds_are_read_from_all_cells(
    monkeypatch: pytest.MonkeyPatch, cells: tuple[Any, ...], kind: str, date_format: str | None, size: int, listed: int
) -> None:
    if kind != "boolean":  # of which two values are few at any limit
        monkeypatch.setattr(column_facts, "LISTED", listed)
    column = kind_of(infer({"a": repeat(*cells, rows=size)}), "a")
    assert (column.kind, column.date_format) == (kind, date_format)
    assert column.nullable == (None in cells)
    encode(column.feature(minimum=0, maximum=1), [cell for cell in cells if cell is not None])


def test_one_cell_late_in_the_column_decides_the_order_of_day_and_month() -> None:
    found = infer({"a": ["01/02/2026"] * (ROWS - 1) + ["01/13/2026"]})
    assert kind_of(found, "a").date_format == "%m/%d/%Y"
    assert found.findings == ()


def test_dates_that_may_be_read_two_ways_are_said_to_be() -> None:
    found = infer({"a": repeat("01/02/2026", "03/04/2026")})
    assert kind_of(found, "a").date_format == "%d/%m/%Y"
    (finding,) = found.findings
    assert finding.line == (
        "data: column 'a' has dates that may be %d/%m/%Y or %m/%d/%Y; %d/%m/%Y is taken; "
        'set data.columns.a="date %m/%d/%Y" if that is meant, else "date %d/%m/%Y"'
    )


@pytest.mark.parametrize("date_format", ["%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %I:%M %p"])  # the last is none that is looked for
def test_a_declared_format_of_dates_is_taken_without_a_doubt(date_format: str) -> None:
    days = [datetime(2026, 2, 1, 10), datetime(2026, 4, 3, 23)]
    cells = [day.strftime(date_format) for day in days]
    found = infer({"a": repeat(*cells)}, columns={"a": f"date {date_format}"})
    column = kind_of(found, "a")
    assert (column.kind, column.date_format, found.findings) == ("date", date_format, ())
    encoded = encode(column.feature(minimum=0, maximum=1), cells)
    assert encoded[:, 0].tolist() == [(day - datetime(1970, 1, 1)).days for day in days]


@pytest.mark.parametrize("date_format", ["%m/%d/%Y", "%m-%d-%Y %I %p"])
def test_the_first_cell_that_does_not_fit_a_declared_format_is_named(date_format: str) -> None:
    fitting = datetime(2026, 11, 30).strftime(date_format)
    with pytest.raises(DataError) as caught:
        infer({"a": [fitting] * 9 + ["30.11.2026"] * (ROWS - 9)}, columns={"a": f"date {date_format}"})
    assert caught.value.lines == (
        (
            f"data: row 9: column 'a' is '30.11.2026', and data.columns.a is date {date_format}; repair it, add the word to "
            "data.missing, or declare another kind"
        ),
    )


@pytest.mark.parametrize("date_format", ["%Q/%d/%m/%Y", "%m/%Y", "%d/%m/%Y %"])
def test_a_format_that_tells_no_day_is_refused(date_format: str) -> None:
    with pytest.raises(DataError, match=r"^data.columns.a: '.*' tells no day, month and year, or is no format of strptime; "):
        infer({"a": repeat("01/02/2026", "03/04/2026")}, columns={"a": f"date {date_format}"})


@pytest.mark.parametrize(
    ("check", "cells"),
    [
        ("identifier", list(range(5_000, 5_000 + ROWS))),
        ("identifier", [str(uuid.UUID(int=random.Random(row).getrandbits(128))) for row in range(ROWS)]),
        ("identifier", [f"{row:05}" for row in range(ROWS)]),
        ("free_text", [f"this is a longer remark of a customer, number {row} of many" for row in range(ROWS)]),
        ("constant", [7] * ROWS),
        ("constant", ["x"] * ROWS),
        ("missing", [None] * ROWS),
        ("many_categories", [f"street {row % 1_500}" for row in range(2_000)]),
    ],
)
def test_columns_that_teach_nothing_are_left_out_with_a_warning(check: str, cells: list[Any]) -> None:
    found = infer({"a": cells})
    assert "a" in found.ignored
    (finding,) = found.findings
    assert (finding.check, finding.verdict, finding.column) == (check, "WARN", "a")


def test_an_identifier_is_seen_where_distinct_cells_are_only_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_facts, "EXACT_BELOW", 0)
    monkeypatch.setattr(column_kinds, "EXACT_BELOW", 0)
    found = infer({"a": list(range(20_000)), "b": [row % 9_000 for row in range(20_000)]})
    assert set(found.ignored) == {"a"}


def test_numbers_that_all_differ_and_dates_that_all_differ_are_no_identifiers() -> None:
    chance = random.Random(0)
    found = infer(
        {
            "population": [chance.randrange(10**6) for _ in range(ROWS)],
            "moment": [f"2026-01-{row % 28 + 1:02} 10:{row % 60:02}:{row // 60:02}" for row in range(ROWS)],
            "x": [row / 3 for row in range(ROWS)],
        }
    )
    assert {column.name: column.kind for column in found.features if column.name != "other"} == {
        "population": "number",
        "moment": "date",
        "x": "number",
    }


def test_an_identifier_declared_as_a_feature_fails() -> None:
    found = infer({"order_id": list(range(ROWS))}, columns={"order_id": "number"})
    (finding,) = found.findings
    assert (finding.check, finding.verdict) == ("identifier", "FAIL")
    assert finding.line == (
        "data: column 'order_id' has another value in each of 100 rows, an identifier, and is declared a feature (number); "
        "set data.columns.order_id=ignore"
    )


def test_mixed_types_name_rows_and_values() -> None:
    cells: list[Any] = [str(row % 9) for row in range(ROWS)]
    cells[3], cells[50] = "unknown", "3kg"
    (finding,) = infer({"a": cells}).findings
    assert (finding.check, finding.verdict, finding.rows) == ("mixed_types", "FAIL", (3, 50))
    assert finding.line == (
        "data: column 'a' mixes numbers with 2 other cells: 'unknown' (row 3), '3kg' (row 50); "
        "repair them, add the words to data.missing, or set data.columns.a=category"
    )
    assert infer({"a": cells}, columns={"a": "category"}).findings == ()


def test_a_date_that_does_not_exist_is_named() -> None:
    cells = [*repeat("2026-01-31", "2025-12-01"), "2026-02-30"]
    (finding,) = infer({"a": cells}).findings
    assert finding.text == "column 'a' is of dates (ISO 8601) but for '2026-02-30' (row 100)"


@pytest.mark.parametrize("form", ["{}%", "$ {}", "1.{:03},56", "{},5 €", "1'{:03}"])
def test_numbers_that_are_dressed_up_are_pointed_out(form: str) -> None:
    found = infer({"price": [form.format(row) for row in range(ROWS)]})
    (finding,) = [finding for finding in found.findings if finding.check == "decorated_numbers"]
    assert finding.text == (
        f"column 'price' has numbers that are written as texts, such as {form.format(0)!r}; it is taken for texts"
    )


@pytest.mark.parametrize("cells", [["192.168.1.1", "10.0.0.7"], ["31.12.2020", "30.11.2020"], ["a", "b"], ["+", "-"]])
def test_what_only_looks_a_little_like_numbers_is_not(cells: list[str]) -> None:
    assert "decorated_numbers" not in {finding.check for finding in infer({"a": repeat(*cells)}).findings}


def test_codes_are_pointed_out() -> None:
    (finding,) = infer({"zip": repeat(8001, 3000, 4051)}).findings
    assert (finding.check, finding.verdict) == ("codes", "WARN")
    assert "set data.columns.zip=category" in finding.line


@pytest.mark.parametrize(
    ("cells", "kind", "message"),
    [
        (("a", "1"), "number", "row 0: column 'a' is 'a', and data.columns.a is number"),
        (("2026-01-01", "soon"), "date", "row 1: column 'a' is 'soon', and data.columns.a is date"),
        ((3.5, 4.5), "date", "row 0: column 'a' is 3.5, and data.columns.a is date"),
        (("yes", "no", "perhaps"), "boolean", "column 'a' is '"),
    ],
)
def test_a_declared_kind_that_a_cell_cannot_be_is_refused(cells: tuple[Any, ...], kind: Kind, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer({"a": repeat(*cells)}, columns={"a": kind})


def test_declared_kinds_win() -> None:
    found = infer(
        {"a": repeat(1, 2, 3), "b": repeat("M", "F"), "c": repeat(0, 1), "d": repeat("x", "z"), "e": repeat("007", "12")},
        columns={"a": "category", "b": "boolean", "c": "boolean", "d": "ignore", "e": "number"},
    )
    assert [(column.kind, column.categories) for column in found.features[:4]] == [
        ("category", ()),
        ("boolean", ("F", "M")),
        ("boolean", ("0", "1")),
        ("number", ()),
    ]
    assert found.ignored["d"] == "data.columns says so"


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (repeat("b", "a"), "classification", ("a", "b")),
        (repeat("10", "9"), "classification", ("9", "10")),
        (repeat(10, 9, 2), "classification", ("2", "9", "10")),
        (repeat(True, False), "classification", ("false", "true")),
        ([row % 10 for row in range(60)], "classification", tuple(map(str, range(10)))),
        ([row * 7 % 50 for row in range(60)], "regression", ()),
        (repeat(0.5, 1.5), "regression", ()),
        (list(range(ROWS)), "regression", ()),
    ],
)
def test_the_task_is_read_from_the_target(cells: list[Any], task: str, classes: tuple[str, ...]) -> None:
    found = infer({"a": [row * 0.5 for row in range(len(cells))], "y": cells})
    assert (found.target.task, found.target.classes) == (task, classes)
    frame = pl.DataFrame({"y": cells})
    values = encode_target(frame, found.target)
    assert values.shape == (len(cells),)
    assert values.dtype == (np.int64 if classes else np.float32)


def test_several_targets_are_labels_or_numbers_but_not_both() -> None:
    data = {"a": repeat(1.5, 2.5, 3), "p": repeat("Yes", "no"), "q": repeat(0, 1), "r": repeat(1.5, 7), "s": repeat("k", "l")}
    labels = infer(data, target=("p", "q")).target
    assert (labels.task, labels.classes) == ("multilabel", ("p", "q"))
    assert encode_target(pl.DataFrame(data), labels)[:2].tolist() == [[1, 0], [0, 1]]
    numbers = infer(data, target=("q", "r")).target
    assert numbers.task == "regression"
    assert encode_target(pl.DataFrame(data), numbers)[:2].tolist() == [[0, 1.5], [1, 7]]
    with pytest.raises(DataError, match="targets of several sorts \\('p': yes or no; 'r': numbers; 's': texts\\)"):
        infer(data, target=("p", "r", "s"))


def test_rows_without_a_target_are_named_and_told_apart() -> None:
    found = infer({"a": repeat(1.5, 2.5), "y": [None, *repeat("k", "l", rows=ROWS - 2), None]})
    (finding,) = found.findings
    assert (finding.check, finding.rows) == ("target_missing", (0, 99))
    assert finding.text == "target 'y' is missing in 2 rows: row 0, row 99"
    assert has_target(pl.DataFrame({"y": ["k", None]}), found.target).tolist() == [True, False]


def test_targets_beyond_32_bits_are_refused() -> None:
    found = infer({"a": repeat(1.5, 2.5), "y": repeat(1e300, 0.5)})
    with pytest.raises(DataError, match="target 'y' has 1e\\+300, which 32-bit floating point cannot hold"):
        encode_target(pl.DataFrame({"y": [0.5, 1e300]}), found.target)


def test_two_spellings_of_the_same_letters_are_one_class() -> None:
    found = infer({"a": repeat(1.5, 2.5, 3), "y": repeat("Zu\u0308rich", "Z\u00fcrich", " Bern")})
    assert found.target.classes == ("Bern", "Z\u00fcrich")
    assert encode_target(pl.DataFrame({"y": ["Zu\u0308rich", "Z\u00fcrich", " Bern"]}), found.target).tolist() == [1, 1, 0]
