"""What checks say: each finding names column, rows, value and what to do."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from pipeline.errors import DataError

Verdict = Literal["PASS", "WARN", "FAIL"]
_NAMED = 5  # rows that a line names


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check, of one column where it is about one.

    `text` says what was found, with the value seen; `advice` what to do, in the words of config keys. A FAIL ends `prepare`.
    `rows`: numbers of the first rows that it is about, counted from 0.
    """

    check: str
    verdict: Verdict
    text: str
    advice: str = ""
    column: str | None = None
    rows: tuple[int, ...] = ()

    @property
    def line(self) -> str:
        """The finding as one line for the terminal."""
        return f"data: {self.text}" + (f"; {self.advice}" if self.advice else "")


def enforced(findings: Iterable[Finding], allowed: Sequence[str]) -> list[Finding]:
    """Return the findings, a FAIL whose check is in `prepare.allow` as a WARN; raise DataError for each other FAIL."""
    found = [
        msgspec.structs.replace(finding, verdict="WARN", advice=f"accepted by prepare.allow=[{finding.check}]")
        if finding.verdict == "FAIL" and finding.check in allowed
        else finding
        for finding in findings
    ]
    if failed := [finding.line for finding in found if finding.verdict == "FAIL"]:
        raise DataError(*failed)
    return found


def some(numbers: Sequence[int], *, most: int = _NAMED) -> str:
    """Return the first numbers of a list as text, and how many more there are."""
    shown = ", ".join(f"{number:,}" for number in numbers[:most])
    return shown + (f" and {len(numbers) - most:,} more" if len(numbers) > most else "")
