"""YAML with a memory of lines: plain values for validation, and where each key was written for messages.

Stricter than PyYAML's default: a key given twice is a fault; `1e-3` is a number; only true and false are booleans, so that a
class named `no` stays a word.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from serving.errors import first_line

Path_ = tuple[str, ...]
COMMAND_LINE = "command line"
_DEEPEST = 8


@dataclass(frozen=True)
class Fault:
    """One thing wrong: where it was written, which key, and what about it."""

    origin: str
    key: str
    message: str

    @property
    def line(self) -> str:
        """The one line that the user reads."""
        return ": ".join(part for part in (self.origin, self.key, self.message) if part)


@dataclass
class Source:
    """Nested plain values, and for each key the place where it was written."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path_, str] = field(default_factory=dict)

    def origin(self, path: Path_) -> str:
        """Return the place of a key, else of what was written nearest to it: inside it, or in a section around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
            for known, place in self.origins.items():
                if known[:length] == path[:length]:
                    return place
        return ""

    def get(self, path: Path_) -> Any:
        """Return the value at a path, None when nothing is written there."""
        values: Any = self.values
        for part in path:
            values = values.get(part) if isinstance(values, dict) else None
        return values

    def put(self, path: Path_, value: Any, origin: str) -> None:
        """Write a value; sections on the way are made, and whatever else stood there is replaced."""
        if path == ("model", "name") and self.get(path) not in (None, value):
            # Another model has other keys: the ones that the file wrote for the old one go with it.
            kept = {key: item for key, item in self.values["model"].items() if self.origins.get(("model", key)) == COMMAND_LINE}
            self.values["model"] = kept
        values = self.values
        for part in path[:-1]:
            if not isinstance(values.get(part), dict):
                values[part] = {}
            values = values[part]
        values[path[-1]] = value
        self.origins = {known: place for known, place in self.origins.items() if known[: len(path)] != path}
        self.origins[path] = origin

    def put_default(self, path: Path_, value: Any, origin: str) -> None:
        """Write a value where nothing is written yet."""
        if self.get(path) is None:
            self.put(path, value, origin)


class Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's numbers and booleans."""


_NARROWED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "timestamp")}
Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag not in _NARROWED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
# Decimal only: YAML 1.1 reads 010 as 8 and 1:30 as 90.
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|nan))$"),
    list("-+.0123456789"),
)


def parse_file(file: Path, faults: list[Fault]) -> Source:
    """Read a YAML mapping; faults of syntax and doubled keys are added to `faults`."""
    source = Source(origins={(): str(file)})
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"
        faults.append(
            Fault(str(file), "", f"cannot be read: {reason[:1].lower() + reason[1:]}; give a config with --config or CONFIG=")
        )
        return source
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        faults.append(_syntax_fault(str(file), error))
        return source
    if isinstance(node, yaml.MappingNode):
        source.values = _mapping(node, (), str(file), source.origins, faults)
    elif node is not None:
        faults.append(Fault(f"{file}:1", "", "must be a mapping of sections, such as `train:`"))
    return source


def parse_word(word: str, source: Source, faults: list[Fault]) -> None:
    """Apply one `section.key=value` of the command line."""
    key, equals, text = word.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        faults.append(Fault(COMMAND_LINE, word, "not understood; write section.key=value, for example train.epochs=3"))
        return
    try:
        node = yaml.compose(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError):
        faults.append(Fault(COMMAND_LINE, key, f"the value {_short(text)!r} is not YAML; quote it"))
        return
    found: list[Fault] = []
    value = _value(node, path, COMMAND_LINE, {}, found) if node is not None else None
    faults += [Fault(COMMAND_LINE, fault.key, fault.message) for fault in found]
    source.put(path, value, COMMAND_LINE)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _value(node: yaml.Node, path: Path_, file: str, origins: dict[Path_, str], faults: list[Fault]) -> Any:
    """Return a node's plain value: a mapping key by key, so that a doubled key is found, anything else as YAML builds it."""
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, file, origins, faults)
    return _plain(node, file, path, faults)


def _mapping(node: yaml.MappingNode, path: Path_, file: str, origins: dict[Path_, str], faults: list[Fault]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    if len(path) > _DEEPEST:  # an alias that contains itself never ends
        faults.append(Fault(f"{file}:{node.start_mark.line + 1}", "", "nested too deeply"))
        return values
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        here = (*path, key)
        if key in values:
            faults.append(Fault(f"{file}:{line}", ".".join(here), f"written twice, first in line {lines[key]}; keep one"))
            continue
        lines[key] = line
        origins[here] = f"{file}:{line}"
        values[key] = _value(value_node, here, file, origins, faults)
    return values


def _plain(node: yaml.Node, file: str, path: Path_, faults: list[Fault]) -> Any:
    try:
        loader = Loader("")
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        faults.append(Fault(f"{file}:{node.start_mark.line + 1}", ".".join(path), first_line(error)))
        return None


def _syntax_fault(file: str, error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None)
    origin = f"{file}:{mark.line + 1}" if mark else file
    return Fault(origin, "", f"not YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}")
