"""How many rows are the same, or nearly so."""

from collections.abc import Callable

import numpy as np

from pipeline.config.prepare_sections import PrepareConfig
from pipeline.data.findings import Finding
from pipeline.data.splitting.duplicates import Grouping

_MANY = 0.01  # share of rows, from which it is worth a line on the terminal
_NAMED = 3


def duplicates(grouping: Grouping, section: PrepareConfig, *, place: Callable[[int], str]) -> list[Finding]:
    """Return one finding with the counts: a WARN for more than 1 % of the rows, or where they may land in several splits."""
    rows = len(grouping.groups)
    copies = grouping.exact + grouping.near
    note = f"; {grouping.note}" if grouping.note else ""
    if not copies:
        return [Finding(check="duplicates", verdict="PASS", text=f"no two of {rows:,} rows have the same inputs{note}")]
    first = np.zeros(int(grouping.groups.max()) + 1, dtype=np.int64)  # numbers may have gaps; row 0 is a first one
    first[grouping.groups[::-1]] = np.arange(rows)[::-1]  # the last one stays: the first row of each group
    is_repeated = np.ones(rows, dtype=bool)
    is_repeated[first] = False
    repeated = np.flatnonzero(is_repeated)
    shown = ", ".join(place(int(row)) for row in repeated[:_NAMED])
    anywhere = section.duplicates == "anywhere"
    where = (
        "may land in several splits (prepare.duplicates=anywhere), which flatters the test" if anywhere else "stay in one split"
    )
    return [
        Finding(
            check="duplicates",
            verdict="WARN" if anywhere or copies > _MANY * rows else "PASS",
            text=f"{grouping.exact:,} of {rows:,} rows repeat an earlier row, and {grouping.near:,} more nearly do, "
            f"such as {shown}; they {where}{note}",
            advice="" if not anywhere else "set prepare.duplicates=together",
            rows=tuple(repeated[:5].tolist()),
        )
    ]
