"""What a key takes, read from its type: for messages and for the comments of `configs/base.yaml`."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_KINDS = {int: "integer", float: "number", str: "text", tuple: "list"}


def members(annotation: Any) -> list[Any]:
    """Return what a value may be besides null: several types for a union, else the type itself."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) if part is not NoneType for member in members(part)]
    return [annotation]


def words(annotation: Any) -> list[str]:
    """Return the words that a key takes, as YAML has them: those of its Literals, true and false, null."""
    taken = [word for member in members(annotation) for word in _words(member)]
    return taken + ["null"] * (NoneType in get_args(annotation))


def alternatives(annotation: Any) -> list[str]:
    """Return the words and the kinds of other values of a key that takes words; none for a plain boolean, number or list."""
    kinds = members(annotation)
    if kinds == [bool] or not any(_words(kind) for kind in kinds):
        return []
    return [text for kind in kinds for text in _words(kind) or [_KINDS[get_origin(kind) or kind]]]


def _words(member: Any) -> list[str]:
    if member is bool:
        return ["true", "false"]
    return [str(word) for word in get_args(member)] if get_origin(member) is Literal else []


def tagged(union: Any, tag: Any) -> Any:
    """Return the section of a union that a value of its first key chooses; None where there is none."""
    for member in members(union):
        first = next(iter(getattr(member, "model_fields", {}).values()), None)
        if first is not None and tag in get_args(first.annotation):
            return member
    return None


def tags(union: Any) -> list[str]:
    """Return every value of the first key, which chooses among the sections of a union."""
    return [word for member in members(union) for word in words(next(iter(member.model_fields.values())).annotation)]
