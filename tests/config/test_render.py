"""The documented defaults are the code's."""

import pytest
import yaml
from pydantic import BaseModel

from pipeline.config import Config, base_yaml, flatten, load
from tests.conftest import ROOT


def test_base_yaml_is_what_the_code_says() -> None:
    assert (ROOT / "configs" / "base.yaml").read_text() == base_yaml(), (
        "run: python -m pipeline config --defaults > configs/base.yaml"
    )


def test_base_yaml_holds_every_key_with_its_default_and_loads() -> None:
    values = yaml.safe_load(base_yaml())
    assert flatten(values).keys() == flatten(Config().model_dump(mode="json", by_alias=True)).keys()
    assert load(ROOT / "configs" / "base.yaml") == Config()


def test_every_key_has_a_comment() -> None:
    keys = [line for line in base_yaml().splitlines() if ":" in line and not line.startswith("#")]
    assert len(keys) > 40
    assert [line for line in keys if line.startswith(" ") and "#" not in line] == []


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("batch_size", "integer | auto"),
        ("compile", "true | false | auto"),
        ("class_weights", "none | balanced | list"),
        ("nonfinite", "stop | skip"),
    ],
)
def test_the_comment_of_a_key_that_takes_words_lists_them(key: str, taken: str) -> None:
    (line,) = [line for line in base_yaml().splitlines() if line.strip().startswith(f"{key}:")]
    assert line.endswith(f"; {taken}")


def test_every_shipped_config_loads() -> None:
    files = sorted((ROOT / "configs").glob("*.yaml"))
    assert len(files) >= 6
    for file in files:
        load(file)


def test_the_schema_describes_every_section() -> None:
    schema = Config.model_json_schema(by_alias=True)
    sections = [name for name, field in Config.model_fields.items() if isinstance(field.default, BaseModel)]
    assert len(sections) == 14
    assert set(sections) < set(schema["properties"])
