"""The kind of one column, read from the facts of all rows."""

import re
from collections import Counter
from dataclasses import dataclass, replace

from pipeline.config.data_sections import Kind
from pipeline.data.columns.dates import DateFormats, date_formats, is_date
from pipeline.data.columns.facts import EXACT_BELOW, NUMBER, Facts, rows_where
from pipeline.data.columns.truths import meanings_of
from pipeline.data.findings import Finding, Verdict
from pipeline.data.table import Column, Table
from serving.columns import fold, text_of

_MOSTLY = 0.8  # share of numbers, or dates, in a column of text from which on the rest is taken for faults
_EVERY = 0.95  # share of distinct cells of an identifier: rows that are there twice repeat it, too
_ESTIMATED = 0.75  # the same where distinct cells are estimated: polars' estimate of 10 million was an eighth too low
_MANY = 1_000  # categories
_LONG = 30  # mean characters of free text
_FEWEST = 20  # rows that tell an identifier
_KEY_NAME = re.compile(r"(?:^|[_\s.-])(?:id|uuid|guid|key|index|row|nr|no|number)$|[a-z]I[dD]$|^unnamed", re.IGNORECASE)
# 12.5%, $3, 1.234,56
_DECORATED = re.compile(r"\s*[$€£¥]?\s*[+-]?(?:\d+|\d{1,3}(?:[.,' ]\d{3})+)(?:[.,]\d+)?\s*[%‰$€£¥]?\s*$")
_CODE_NAME = re.compile(r"(?:^|[_\s.-])(?:id|code|zip|zipcode|postcode|plz|type|class|category)$", re.IGNORECASE)


@dataclass(frozen=True)
class Judged:
    """What a column is for: a feature, or left out for a reason."""

    column: Column | None
    reason: str = ""
    findings: tuple[Finding, ...] = ()


def judged(table: Table, facts: Facts) -> Judged:
    """Return what the cells of a column make it."""
    if not facts.present:
        return _ignored(facts, "missing", "every cell is missing", f"column {facts.name!r} has no value in any row")
    if _constant(facts):
        value = next(iter(facts.counts)) if facts.counts else facts.minimum
        return _ignored(facts, "constant", f"constant: {value!r}", f"column {facts.name!r} is {value!r} in every row")
    if not facts.text and looks_like_identifier(facts):
        return _identifier(facts)
    if facts.dtype.is_numeric():
        return Judged(column_of(facts, "number"), findings=_codes(facts))
    if facts.dtype.is_temporal():
        return Judged(column_of(facts, "date"))
    return _boolean(facts) or _warned(table, facts, _text(table, facts))


def _warned(table: Table, facts: Facts, found: Judged) -> Judged:
    """Return what was found, with a warning where texts are numbers with something around or in them."""
    if found.column is not None and found.column.kind == "date":
        return found
    texts = distinct_texts(table, facts)
    odd = [text for text in texts if _DECORATED.match(text) and not re.search(NUMBER, text)]
    if not odd or sum(texts[text] for text in odd) < _MOSTLY * sum(texts.values()):
        return found
    text = f"column {facts.name!r} has numbers that are written as texts, such as {odd[0]!r}; it is taken for texts"
    advice = (
        "write plain numbers; where a comma is the decimal point, without separators of thousands and with data.decimal=','"
    )
    warning = finding_of("decorated_numbers", "WARN", facts, text, advice)
    return replace(found, findings=(*found.findings, warning))


def looks_like_identifier(facts: Facts) -> bool:
    """Return whether (nearly) every row has a value of its own, which names rows and tells nothing of others.

    Whole numbers must count the rows, or be called as keys are: large whole numbers may all differ by chance. Texts must be
    single words; those with spaces are free text.
    """
    share = _EVERY if facts.rows <= EXACT_BELOW else _ESTIMATED
    if facts.present < _FEWEST or facts.distinct < share * facts.present:
        return False
    if facts.text:
        return facts.spaced < 0.05 * facts.present
    if not facts.dtype.is_integer():
        return False
    return facts.maximum - facts.minimum < 1.2 * facts.present or bool(_KEY_NAME.search(facts.name))


def _text(table: Table, facts: Facts) -> Judged:
    """Return what a column of text is that names neither rows nor truths."""
    if facts.numeric >= _MOSTLY * facts.present and facts.numeric < facts.present and not facts.codes:
        return Judged(column_of(facts, "category"), findings=(_mixed(table, facts),))
    dates = date_formats(distinct_texts(table, facts))
    if dates is not None:
        found = _dates(table, facts, dates)
        if found is not None:
            return found
    if looks_like_identifier(facts):
        return _identifier(facts)
    if facts.length > _LONG and facts.distinct > 0.5 * facts.present and facts.spaced > 0.5 * facts.present:
        what = f"column {facts.name!r} holds free text ({facts.length:.0f} characters on average, {facts.distinct:,} different)"
        return _ignored(facts, "free_text", "free text", what)
    if facts.distinct > _MANY and facts.distinct > 0.5 * facts.present:
        what = f"column {facts.name!r} has {facts.distinct:,} categories in {facts.present:,} rows, too many to learn from"
        return _ignored(facts, "many_categories", "too many categories", what)
    return Judged(column_of(facts, "category"))


def _identifier(facts: Facts) -> Judged:
    what = f"column {facts.name!r} looks like an identifier: another value in {share_of(facts)} rows"
    return _ignored(facts, "identifier", "an identifier: another value in every row", what)


def distinct_texts(table: Table, facts: Facts) -> dict[str, int]:
    """Return how often each text of a column occurs: in all rows where different ones are few, else in the first rows."""
    import polars as pl

    if facts.counts is not None:
        return dict(facts.counts)
    head = table.frame.select(pl.col(facts.name).drop_nulls()).head(2_000).collect(engine="streaming")
    return dict(Counter(head.to_series().to_list()))


def _dates(table: Table, facts: Facts, dates: DateFormats) -> Judged | None:
    """Return the column of dates whose format all rows fit, with what is doubtful; None where too few rows do."""
    import polars as pl

    formats, whole = dates.formats, dates.whole
    if facts.counts is None:
        asked = [is_date(facts.name, found).sum().alias(str(place)) for place, found in enumerate(formats)]
        fitting = table.frame.select(asked).collect(engine="streaming").row(0)
        formats = tuple(found for found, count in zip(formats, fitting, strict=True) if count == max(fitting))
        whole = max(fitting) == facts.present
        if max(fitting) < _MOSTLY * facts.present:
            return None
    taken = formats[0]
    if not whole:
        rows = rows_where(table, pl.col(facts.name).is_not_null() & ~is_date(facts.name, taken))
        text = f"column {facts.name!r} is of dates ({_format(taken)}) but for {_cells(table, facts.name, rows)}"
        return Judged(column_of(facts, "category"), findings=(_mixed_finding(facts, text, rows),))
    findings: tuple[Finding, ...] = ()
    if len(formats) > 1:
        others = ", ".join(map(_format, formats[1:]))
        text = f"column {facts.name!r} has dates that may be {_format(taken)} or {others}; {_format(taken)} is taken"
        advice = f'set data.columns.{facts.name}="date {formats[1]}" if that is meant, else "date {taken}"'
        findings = (finding_of("ambiguous_dates", "WARN", facts, text, advice),)
    return Judged(column_of(facts, "date", date_format=taken), findings=findings)


def _mixed(table: Table, facts: Facts) -> Finding:
    import polars as pl

    rows = rows_where(table, ~pl.col(facts.name).str.contains(NUMBER))
    count = facts.present - facts.numeric
    more = f" and {count - len(rows):,} more" if count > len(rows) else ""
    text = f"column {facts.name!r} mixes numbers with {count:,} other cell{'s' * (count != 1)}: "
    return _mixed_finding(facts, text + _cells(table, facts.name, rows) + more, rows)


def _mixed_finding(facts: Facts, text: str, rows: list[int]) -> Finding:
    advice = f"repair them, add the words to data.missing, or set data.columns.{facts.name}=category"
    return finding_of("mixed_types", "FAIL", facts, text, advice, rows)


def _cells(table: Table, name: str, rows: list[int]) -> str:
    cells = [table.frame.select(name).slice(row, 1).collect().item() for row in rows]
    return ", ".join(f"{cell!r} ({table.place(row)})" for cell, row in zip(cells, rows, strict=True))


def _boolean(facts: Facts) -> Judged | None:
    meanings = meanings_of(facts)
    return None if meanings is None else Judged(column_of(facts, "boolean", categories=spelled(facts, meanings)))


def spelled(facts: Facts, meanings: tuple[str, str]) -> tuple[str, str]:
    """Return the two texts as most rows write them."""
    texts = [text_of(cell) for cell in facts.counts or {}]
    no, yes = (next((text for text in texts if fold(text) == meaning), meaning) for meaning in meanings)
    return no, yes


def _constant(facts: Facts) -> bool:
    if facts.missing:
        return False
    if facts.counts is not None:
        return len({text_of(cell) for cell in facts.counts}) == 1
    return not facts.text and facts.minimum == facts.maximum


def _codes(facts: Facts) -> tuple[Finding, ...]:
    few = facts.dtype.is_integer() and 2 < facts.distinct <= min(_MANY, 0.05 * facts.rows)
    if not few or not _CODE_NAME.search(facts.name):
        return ()
    text = f"column {facts.name!r} is called like a code and has {facts.distinct:,} different whole numbers; it is a number now"
    return (finding_of("codes", "WARN", facts, text, f"set data.columns.{facts.name}=category if they are codes"),)


def share_of(facts: Facts) -> str:
    """Say in how many rows a value occurs nowhere else."""
    return f"each of {facts.present:,}" if facts.distinct == facts.present else f"nearly each of {facts.present:,}"


def _format(date_format: str | None) -> str:
    return "ISO 8601" if date_format is None else date_format


def column_of(facts: Facts, kind: Kind, *, categories: tuple[str, ...] = (), date_format: str | None = None) -> Column:
    """Return a feature."""
    assert kind != "ignore"
    return Column(facts.name, kind, categories, date_format, nullable=facts.missing > 0)


def _ignored(facts: Facts, check: str, reason: str, text: str, advice: str = "") -> Judged:
    finding = finding_of(check, "WARN", facts, f"{text}; it is left out", advice)
    return Judged(None, reason, (finding,))


def finding_of(
    check: str, verdict: Verdict, facts: Facts, text: str, advice: str = "", rows: list[int] | None = None
) -> Finding:
    """Return a finding of one column."""
    return Finding(check=check, verdict=verdict, column=facts.name, text=text, advice=advice, rows=tuple(rows or ()))
