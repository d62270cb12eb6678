"""What pydantic found, told as faults of keys: where each key was written, the value seen and what would be right.

Pydantic tries each member of a union and reports them all, with the member's tag in the path
(`train.threads.literal['auto']`). A reader has one key, so those reports become one fault:

    command line: train.threads: must be greater than or equal to 1, or auto (value 0)
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.config.annotations import members, tagged, words
from pipeline.config.yaml_source import Fault, Path_, Source

Detail = dict[str, Any]  # one report of pydantic: type, loc, msg, input, ctx


def faults_of(error: ValidationError, kind: type[BaseModel], source: Source) -> list[Fault]:
    """Return a fault for each key, or item of a list, of `source` that the section `kind` refuses."""
    details: list[Detail] = [{**detail} for detail in error.errors(include_url=False)]
    paths: list[tuple[Any, ...]] = [detail["loc"] for detail in details]
    # A list that is too short because its items are wrong is no second fault.
    details = [
        d for d in details if not (d["type"] == "too_short" and any(p[:-1] == d["loc"] and p != d["loc"] for p in paths))
    ]
    keys: dict[Path_, list[tuple[_Place, Detail]]] = {}
    for detail in details:
        place = _place(kind, detail["loc"])
        keys.setdefault(place.key, []).append((place, detail))
    return [fault for reports in keys.values() for fault in _faults_of_key(reports, source)]


@dataclass(frozen=True)
class _Place:
    """Where a report belongs.

    path: without tags. key: the same, without the items of a union's list. annotation: the type of what is at `path`.
    section: the type that has, or lacks, the last key.
    """

    path: Path_
    key: Path_
    annotation: Any
    section: Any


def _place(kind: type[BaseModel], loc: tuple[Any, ...]) -> _Place:
    """Follow a path of pydantic through the sections; a union's tag in it is no key of the file."""
    path: Path_ = ()
    key: Path_ | None = None
    annotation: Any = kind
    section: Any = kind
    for part in loc:
        kinds = members(annotation)
        if len(kinds) > 1 and key is None:  # `part` is a tag
            section = tagged(annotation, part)
            annotation, key = (section, None) if section else (annotation, path)
            continue
        path = (*path, str(part))
        if _is_section(kinds[0]):
            section = kinds[0]
            field = _keys(section).get(str(part))
            annotation = field.annotation if field else Any
        else:
            annotation = _item(kinds[0])
    return _Place(path, path if key is None else key, annotation, section)


def _item(annotation: Any) -> Any:
    """Return the type of the items of a list, or of the values of a mapping."""
    match get_origin(annotation):
        case origin if origin is tuple:
            return get_args(annotation)[0]
        case origin if origin is dict:
            return get_args(annotation)[1]
    return Any


def _keys(section: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _faults_of_key(reports: Sequence[tuple[_Place, Detail]], source: Source) -> list[Fault]:
    """Tell once what the members of a union said: about items of a list if there are any, else about the whole value."""
    items = [(place, detail) for place, detail in reports if place.path != place.key]
    if items or len(reports) == 1:
        return [_fault(place, detail, source) for place, detail in items or reports]
    place, first = reports[0]
    wanted = dict.fromkeys(_wanted(detail) for _, detail in reports)
    message = _message(" or ".join(filter(None, wanted)), words(place.annotation), first["input"])
    return [Fault(source.origin(place.path), ".".join(place.path), message)]


def _fault(place: _Place, detail: Detail, source: Source) -> Fault:
    path, seen = place.path, detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            known = list(_keys(place.section))
            message = f"unknown key (value {_shown(seen)}){_close(path[-1], known) or '; known: ' + ', '.join(known)}"
        case "missing":
            message = "required, but missing"
        case "value_error":
            message = str(detail["ctx"]["error"])
        case "union_tag_invalid":
            path = (*path, detail["ctx"]["discriminator"].strip("'"))
            names = [name.strip(" '") for name in detail["ctx"]["expected_tags"].split(",")]
            message = _message("", names, str(detail["ctx"]["tag"]))
        case "model_type" | "model_attributes_type":
            message = f"is a section; write its keys below it (value {_shown(seen)})"
        case _:
            message = _message(_wanted(detail), words(place.annotation), seen)
    return Fault(source.origin(path), ".".join(path), message)


def _message(wanted: str, taken: Sequence[str], seen: Any) -> str:
    """Return what is wanted, the words that are taken, the value seen, and the word that was meant where one is close."""
    if taken:
        listed = taken[0] if len(taken) == 1 else f"one of {', '.join(taken)}"
        wanted = f"{wanted}, or {listed}" if wanted else f"must be {listed}"
    return f"{wanted} (value {_shown(seen)}){_close(str(seen), taken)}"


def _wanted(detail: Detail) -> str:
    """Return what pydantic asked for, in our words; nothing where the words that are taken say it."""
    match detail["type"]:
        case "literal_error" | "bool_type":
            return ""
        case "tuple_type":
            return "must be a list"
        case "string_type":
            return "must be text"
        case "too_short":
            least = detail["ctx"]["min_length"]
            return f"must have at least {least} item{'s' * (least > 1)}"
        case "string_pattern_mismatch":
            dated = detail["ctx"]["pattern"].startswith("^date")
            return (
                "must be date and a format, as in 'date %d/%m/%Y'" if dated else "must be 1 to 40 letters, digits, '_' or '-'"
            )
    message = str(detail["msg"]).replace("Input should be ", "must be ")
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _close(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
