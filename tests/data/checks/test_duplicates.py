"""Duplicates are counted, and told of where they are many or may land anywhere."""

import numpy as np

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.checks.duplicates import duplicates
from pipeline.data.findings import Finding
from pipeline.data.splitting.duplicates import Grouping
from tests.data.checks.subjects import only


def found(copies: int, *, near: int = 0, note: str | None = None, config: PrepareConfig | None = None) -> Finding:
    groups = np.arange(1_000)
    groups[5 : 5 + copies + near] = 4
    grouping = Grouping(groups, copies, near, note)
    (finding,) = duplicates(grouping, config or PrepareConfig(), place=lambda row: f"line {row + 2}")
    return finding


def test_rows_that_repeat_others_are_counted_with_places() -> None:
    finding = found(20, near=3)
    assert finding.verdict == "WARN"
    assert finding.text == (
        "20 of 1,000 rows repeat an earlier row, and 3 more nearly do, such as line 7, line 8, line 9; they stay in one split"
    )
    assert finding.rows == (5, 6, 7, 8, 9)
    assert found(3).verdict == "PASS"


def test_rows_that_may_land_in_several_splits_are_told_of_however_few() -> None:
    finding = found(1, config=PrepareConfig(duplicates="anywhere"))
    assert finding.verdict == "WARN"
    assert "flatters the test" in finding.text
    assert only([finding]).advice == "set prepare.duplicates=together"


def test_none_pass_and_say_what_was_not_looked_for() -> None:
    finding = found(0, note="near-duplicates are looked for among few rows")
    assert finding.verdict == "PASS"
    assert finding.text == "no two of 1,000 rows have the same inputs; near-duplicates are looked for among few rows"
