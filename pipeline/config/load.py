"""From a YAML file and `section.key=value` words to a checked Config, or to every fault at once.

Precedence: defaults < file < command line; there is no fourth source. Each fault says where it was written, the key, the
value seen and what would be right:

    command line: train.epoch: unknown key (value 5); did you mean 'epochs'?
    configs/mine.yaml:7: train.lr: must be greater than 0 (value -1)
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.config.sections import Config, MlpConfig, Section, model_names
from pipeline.config.yaml_source import Fault, Path_, Source, parse_file, parse_word
from pipeline.errors import ConfigError

S = TypeVar("S", bound=Section)


def load(file: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the checked config; raise ConfigError with one line for each fault.

    file: None for defaults alone. overrides: words such as `train.epochs=3`; values are YAML.
    """
    faults: list[Fault] = []
    source = parse_file(file, faults) if file else Source()
    if file:
        source.put_default(("name",), file.stem, str(file))
    for word in overrides:
        parse_word(word, source, faults)
    if isinstance(source.get(("model",)), dict):
        source.put_default(("model", "name"), MlpConfig().name, source.origin(("model",)))
    return check(Config, source, faults)


def load_section(kind: type[S], file: Path) -> S:
    """Return one checked section from a file of its own, such as mlflow.yaml; defaults where there is no file."""
    faults: list[Fault] = []
    source = parse_file(file, faults) if file.is_file() else Source()
    return check(kind, source, faults)


def check(kind: type[S], source: Source, faults: list[Fault]) -> S:
    """Validate `source` and raise ConfigError when it, or the parsing before it, has faults."""
    checked: S | None = None
    try:
        checked = kind.model_validate(source.values)
    except ValidationError as error:
        faults += [_fault(kind, source, detail) for detail in _details(error)]
    if faults or checked is None:
        raise ConfigError(*dict.fromkeys(fault.line for fault in faults))
    return checked


def _details(error: ValidationError) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = [{**detail} for detail in error.errors(include_url=False)]
    paths: list[tuple[Any, ...]] = [detail["loc"] for detail in details]
    # A list that is too short because its items are wrong is no second fault.
    return [d for d in details if not (d["type"] == "too_short" and any(p[:-1] == d["loc"] and p != d["loc"] for p in paths))]


def _fault(kind: type[BaseModel], source: Source, detail: dict[str, Any]) -> Fault:
    # Pydantic puts a union's tag into the path; the tag is a value, no key of the file.
    path: Path_ = tuple(str(part) for part in _without_tag(detail["loc"]))
    seen = _shown(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            known = _keys_at(kind, path[:-1], source)
            message = f"unknown key (value {seen}){_close(path[-1], known) or '; known: ' + ', '.join(known)}"
        case "missing":
            message = "required, but missing"
        case "value_error":
            message = str(detail["ctx"]["error"])
        case "union_tag_invalid":
            path = (*path, "name")
            choices = [choice.strip(" '") for choice in detail["ctx"]["expected_tags"].split(",")]
            tag = str(detail["ctx"]["tag"])
            message = f"must be one of {', '.join(choices)} (value {tag!r}){_close(tag, choices)}"
        case "literal_error":
            choices = [choice.strip(" '") for choice in detail["ctx"]["expected"].replace(" or ", ",").split(",")]
            message = f"must be one of {', '.join(choices)} (value {seen})"
            message += _close(str(detail["input"]), choices)
        case "model_type" | "model_attributes_type":
            message = f"is a section; write its keys below it (value {seen})"
        case "string_pattern_mismatch":
            message = f"must be 1 to 40 letters, digits, '_' or '-' (value {seen})"
        case _:
            message = f"{_ours(detail['msg'])} (value {seen})"
    return Fault(source.origin(path), ".".join(path), message)


def _without_tag(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    return (loc[0], *loc[2:]) if len(loc) > 1 and loc[0] == "model" and loc[1] in model_names() else loc


def _ours(message: str) -> str:
    message = message.replace("Input should be ", "must be ").replace("Field required", "required")
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _close(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _keys_at(kind: type[BaseModel], path: Path_, source: Source) -> list[str]:
    """Return the keys that a section knows."""
    model: Any = kind
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = fields[part].annotation
        if part == "model":
            name = source.get(("model", "name"))
            members = getattr(model, "__args__", (model,))
            model = next(member for member in members if member.model_fields["name"].default == name)
    return [field.alias or name for name, field in model.model_fields.items()]
