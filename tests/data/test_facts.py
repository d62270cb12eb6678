"""Facts of a column are the same by whichever way they were found: by counting cells, by asking all rows, or by the source."""

from dataclasses import replace
from math import inf, nan

import polars as pl
import pytest

from pipeline.data.columns import facts
from pipeline.data.columns.facts import gather
from pipeline.data.sources.parquet import from_frame

TEXTS = [
    "12",
    " 3.5 ",
    "007",
    "two words",
    "",
    None,
    "12345678901234567",
    "Z\u00fcrich",
    "12",
    "-1e5",
    "a\tb",
    "two words",
    "  ",
]
NUMBERS = [1.5, nan, None, -2.0, 1e300, 3.0, 4.0, nan, 0.0, -0.0, 7.25, 8.0, 9.0]


def test_texts_look_the_same_counted_or_asked_of_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    table = from_frame({"text": TEXTS, "empty": [None] * 13, "number": NUMBERS}, "frame")
    counted = gather(table, ["text"])["text"]
    monkeypatch.setattr(facts, "LISTED", 2)
    asked = gather(table, ["text"])["text"]
    assert (counted.counts is None, asked.counts) == (False, None)
    assert replace(counted, counts=None, length=asked.length) == asked
    assert counted.length == pytest.approx(asked.length)
    assert (asked.present, asked.numeric, asked.codes, asked.spaced) == (10, 6, 2, 3)


@pytest.mark.parametrize(
    "cells", [NUMBERS, [inf, *NUMBERS], [3, None, -5, 2**53], [3, None, 2**53 + 1], [nan, None, nan], TEXTS]
)
def test_what_a_source_told_is_what_its_cells_say(cells: list[object]) -> None:
    table = from_frame(pl.DataFrame({"a": cells}, strict=False), "frame")
    told, asked = (gather(one, ["a"])["a"] for one in (table, replace(table, answers={})))
    if told.present:
        assert told == asked
    assert told.present == asked.present
