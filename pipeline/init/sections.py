"""The `data:` section as entries: what was found, written down so that it can be changed."""

from typing import Any

from pipeline.init.entries import Entry
from pipeline.init.look import Look

_MOST_CLASSES = 12  # that a comment names
_DOUBTFUL = {"mixed_types", "ambiguous_dates"}  # checks that a declared kind would silence


def data_section(look: Look) -> Entry:
    """Return the section with the keys that differ from their defaults, and every column with its kind."""
    section = look.section
    given: dict[str, Any] = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    first = {"source": section.source} | {key: given[key] for key in ("path", "file") if key in given}
    written = first | {key: value for key, value in given.items() if key != "columns"}
    comments = {
        "target": _target_words(look),
        ("file" if "file" in written else "path"): f"{look.rows:,} rows" + (f"; {look.written}" if look.written else ""),
    }
    entries = [Entry(key, value, comments.get(key, "")) for key, value in written.items()]
    if "target" not in written:
        entries.append(Entry("target", getattr(section, "target", "target"), comments["target"]))
    return Entry("data", (*entries, *_columns(look)))


def kinds_of(look: Look) -> dict[str, tuple[str, str]]:
    """Return the kind of each column but the target, in the order of the table, with what it holds, or why it is left out."""
    assert look.columns is not None
    kinds = {column.name: str(column.kind) for column in look.columns.features}
    ignored = look.columns.ignored
    return {
        fact.name: (kinds[fact.name], fact.words) if fact.name in kinds else ("ignore", ignored[fact.name])
        for fact in look.facts
        if fact.name in kinds or fact.name in ignored
    }


def _columns(look: Look) -> list[Entry]:
    """Return the mapping of columns to kinds, where the source is a table whose section has one."""
    if look.columns is None or not hasattr(look.section, "columns"):
        return []
    dated = {found.name: f"date {found.date_format}" for found in look.columns.features if found.date_format is not None}
    # A kind that is written down counts as declared: where it is in doubt, `prepare` is to say so until the user has decided.
    doubtful = {finding.column for finding in look.findings if finding.check in _DOUBTFUL}
    entries = tuple(
        Entry(name, dated.get(name, kind), words, off=name in doubtful) for name, (kind, words) in kinds_of(look).items()
    )
    return [Entry("columns", entries, "number | boolean | category | date | date %d/%m/%Y; ignore leaves a column out")]


def _target_words(look: Look) -> str:
    if look.task == "regression":
        return "regression"
    named = ", ".join(look.classes[:_MOST_CLASSES]) + (", …" if len(look.classes) > _MOST_CLASSES else "")
    return f"{look.task}: {len(look.classes)} {'labels' if look.task == 'multilabel' else 'classes'}: {named}"
