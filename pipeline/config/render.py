"""Config as YAML: the documented defaults (`configs/base.yaml`) and a run's resolved values (`config.yaml`)."""

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.annotations import alternatives, members, tags
from pipeline.config.section import Section
from pipeline.config.sections import Config
from pipeline.config.yaml_source import Loader

_HEADER = """\
# Every key with its default. Written by `python -m pipeline config --defaults`; a test keeps it equal to the code.
# Your own file holds only what differs; the command line wins: `make train SET="train.epochs=3 seed=1"`.
"""

_EXAMPLES = {  # of keys that have no default
    "file": "my_file.py",
    "class_name": "Net",
    "path": "my_data.csv",
    "target": "my_target",
    "dataset": "adult",
}


class _Dumper(yaml.SafeDumper):
    """Quotes what our loader would read as something else, such as a name `1e5`."""


_Dumper.yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def resolved_yaml(values: Mapping[str, Any]) -> str:
    """Return every key of a resolved config with its value, in the order of the sections."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as one level: {"train": {"lr": 1}} becomes {"train.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def base_yaml() -> str:
    """Return the defaults with one comment for each key."""
    return _HEADER + "\n".join(_lines(Config, Config(), "")) + "\n"


def _lines(kind: type[BaseModel], section: Section, indent: str, *, union: Any = None) -> list[str]:
    """Return a line for each key. `union`: what the section is a member of, if its first key chooses among several."""
    lines: list[str] = []
    for name, field in kind.model_fields.items():
        value = getattr(section, name)
        key = field.alias or name
        if isinstance(value, Section):
            comment = (type(value).__doc__ or "").strip().splitlines()[0]
            lines += ["", f"# {comment}"] if not indent else []
            lines += [f"{indent}{key}:" + (f"  # {comment}" if indent else "")]
            lines += _lines(type(value), value, indent + "  ", union=field.annotation)
            lines += _other_choices(name, field) if len(members(field.annotation)) > 1 else []
        else:
            plain = section.model_dump(mode="json")[name]
            text = f"{indent}{key}: {json.dumps(plain) if not isinstance(plain, str) else plain}"
            choices = " | ".join(tags(union)) if not lines and len(members(union)) > 1 else ""
            comment = choices or _comment(field)
            lines.append(f"{text}  # {comment}" if comment else text)
    return lines


def _comment(field: FieldInfo) -> str:
    taken = alternatives(field.annotation)
    parts = [field.description or "", " | ".join(taken) if len(taken) > 1 else ""]
    return "; ".join(part for part in parts if part)


def _other_choices(name: str, field: FieldInfo) -> list[str]:
    """Show the sections that could stand in the place of the default, as comments; keys without a default get an example."""
    lines: list[str] = []
    for kind in members(field.annotation)[1:]:
        needed = {key: _EXAMPLES[key] for key, inner in kind.model_fields.items() if inner.is_required()}
        comment = (kind.__doc__ or "").strip().splitlines()[0]
        section = kind.model_construct(**needed)
        lines += [f"# {name}:  # {comment}", *("# " + line for line in _lines(kind, section, "  "))]
    return lines
