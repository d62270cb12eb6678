"""The names of a table's columns: what JSON records cannot carry, and what would be ambiguous, is refused."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import DataError


def check_names(names: Sequence[str], *, place: str) -> None:
    """Raise DataError with a line for each name that is empty, repeated, or that a client could not write."""
    faults = [
        f"{place}: cell {number} of the header is empty; name the column"
        + (" (a file written by pandas has its index there: write it with index=False)" if number == 1 else "")
        for number, name in enumerate(names, start=1)
        if not name
    ]
    faults += [
        f"{place}: column name {name!r} has quotes, backslashes or control characters; rename it"
        for name in names
        if not name.isprintable() or set(name) & {'"', "\\"}
    ]
    faults += [
        f"{place}: column name {name!r} is a pattern that stands for several columns; rename it"
        for name in names
        if name == "*" or (name.startswith("^") and name.endswith("$"))
    ]
    faults += [
        f"{place}: {count} columns are called {name!r}; rename them"
        for name, count in Counter(names).items()
        if count > 1 and name
    ]
    if faults:
        raise DataError(*faults)


def check_target(names: Sequence[str], target: str | tuple[str, ...] | None, *, origin: str) -> None:
    """Raise DataError with a line for each target that is no column."""
    wanted = () if target is None else (target,) if isinstance(target, str) else target
    faults = [f"{origin}: data.target: {unknown(name, names)}" for name in wanted if name not in names]
    if faults:
        raise DataError(*faults)


def unknown(name: str, names: Iterable[str]) -> str:
    """Say that no column has a name, and which one may be meant."""
    known = list(names)
    folded = {known_name.casefold(): known_name for known_name in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    shown = ", ".join(map(repr, known[:10])) + (f" and {len(known) - 10:,} more" if len(known) > 10 else "")
    return f"no column is called {name!r}; " + (f"did you mean {folded[close[0]]!r}? " if close else "") + f"there are {shown}"


def check_same(names: Sequence[str], others: Mapping[str, Sequence[str]]) -> None:
    """Raise DataError with a line for each file whose columns are not the set of the first one's."""
    faults = []
    for origin, found in others.items():
        lacks = [name for name in names if name not in found]
        more = [name for name in found if name not in names]
        if lacks or more:
            parts = [f"lacks {', '.join(map(repr, lacks))}"] if lacks else []
            parts += [f"has {', '.join(map(repr, more))}, too"] if more else []
            faults.append(f"{origin}: {' and '.join(parts)}; its columns must be those of the train rows")
    if faults:
        raise DataError(*faults)
