"""From a YAML file and `section.key=value` words to a checked Config, or to every fault at once.

Precedence: defaults < file < command line; there is no fourth source. Each fault says where it was written, the key, the
value seen and what would be right:

    command line: train.epoch: unknown key (value 5); did you mean 'epochs'?
    configs/mine.yaml:7: train.lr: must be greater than 0 (value -1)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipeline.config.data_sections import BuiltinData
from pipeline.config.faults import faults_of
from pipeline.config.model_sections import MlpConfig
from pipeline.config.section import Section
from pipeline.config.sections import Config
from pipeline.config.yaml_source import Fault, Source, parse_file, parse_word
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
    for path in (("model",), ("distill", "student")):
        if isinstance(source.get(path), dict):
            source.put_default((*path, "name"), MlpConfig().name, source.origin(path))
    if isinstance(data := source.get(("data",)), dict):
        source.put_default(("data", "source"), "table" if "path" in data else BuiltinData().source, source.origin(("data",)))
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
        faults += faults_of(error, kind, source)
    if faults or checked is None:
        raise ConfigError(*dict.fromkeys(fault.line for fault in faults))
    return checked
