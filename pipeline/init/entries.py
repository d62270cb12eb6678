"""A commented YAML file out of entries: comments by hand, keys and values as the project's own dumper quotes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import resolved_yaml

_LONGEST = 160  # characters of a comment
_LONGEST_PLAIN = 80  # characters of a text that the dumper does not wrap
_LONGEST_KEY = 1000  # from 1,024 characters on YAML needs a mark in front


@dataclass(frozen=True)
class Entry:
    """A key with a value, a list of values, or a tuple of entries below it. off: a comment, for the user to switch on."""

    key: str
    value: Any
    comment: str = ""
    off: bool = False


def rendered(entries: Sequence[Entry], indent: str = "") -> str:
    """Return entries as YAML, one a line where a line can hold it."""
    return "".join(_lines(entry, indent) for entry in entries)


def comment_text(text: str) -> str:
    """Return text that may stand in a comment: one line, nothing that a YAML reader refuses."""
    plain = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"


def _lines(entry: Entry, indent: str) -> str:
    comment = f"  # {comment_text(entry.comment)}" if entry.comment else ""
    key = _scalar(entry.key)
    head = f"? {key}\n{indent}:" if len(key) > _LONGEST_KEY else f"{key}:"
    mark = indent + "# " * _is_off(entry)
    if isinstance(entry.value, tuple):  # entries: a list is a list
        return f"{mark}{head}{comment}\n{rendered(entry.value, indent + '  ')}" if entry.value else ""
    text = f"{indent}{head} {_value(entry.value)}{comment}"
    return "".join(f"{mark}{line.removeprefix(indent)}\n" for line in text.split("\n"))


def _is_off(entry: Entry) -> bool:
    """Return whether an entry is a comment; a section of nothing but comments is one, since YAML would read it as null."""
    return entry.off or (isinstance(entry.value, tuple) and all(map(_is_off, entry.value)))


def _value(value: Any) -> str:
    return f"[{', '.join(map(_scalar, value))}]" if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> str:
    """Return a text, number, boolean or null in one line, in quotes where the loader would take a text for another."""
    if isinstance(value, str) and (len(value) > _LONGEST_PLAIN or not value.isprintable()):
        return f'"{"".join(_escaped(character) for character in value)}"'
    return resolved_yaml({"k": [value]}).rstrip("\n").removeprefix("k: [").removesuffix("]")


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
