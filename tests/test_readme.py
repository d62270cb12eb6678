"""The README is true: its commands exist, its answers are what the commands answer."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from pipeline.config import Config, flatten, load
from pipeline.config.annotations import members, tags
from tests.conftest import ROOT, Project
from tests.service import served
from tests.test_architecture import MAKEFILE

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def blocks(language: str, holding: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and holding in text]


def following(text: str) -> str:
    """Return the block after this one: the answer."""
    index = next(i for i, (_, block) in enumerate(BLOCKS) if block == text)
    return str(BLOCKS[index + 1][1])


def test_every_make_target_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", README)) | {
        target for block in blocks("bash", "make") for line in block.splitlines() for target in targets_of(line)
    }
    assert len(named) >= 10
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def targets_of(line: str) -> list[str]:
    return [word for word in line.split()[1:] if re.fullmatch(r"[a-z-]+", word)] if line.startswith("make ") else []


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_configuration_that_the_readme_names_loads() -> None:
    named = set(re.findall(r"configs/(\w+)\.yaml", README)) - {"mine", "cellar"}
    assert len(named) >= 6
    for name in named:
        load(ROOT / "configs" / f"{name}.yaml")


def test_the_example_of_a_mistake_is_what_the_command_answers() -> None:
    (block,) = blocks("bash", "train.epoch=5")
    words = block.split()
    assert words[0] == "python"
    done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == following(block)


def test_the_curl_commands_get_the_answers_that_are_printed_below_them(project: Project) -> None:
    commands = blocks("bash", "curl")
    assert len(commands) == 2
    config = ROOT / "configs" / "digits.yaml"
    assert project.run("export", "train.epochs=10", config=str(config))[0] == 0  # a sixth of them, and as sure: 0.9999
    with served(config, project.folder) as (url, _):
        for command in commands:
            here = command.replace("http://localhost:8080", url)
            done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=True, timeout=20)
            assert shape(json.loads(done.stdout)) == shape(json.loads(following(command)))


def shape(answer: Any) -> Any:
    """Return an answer without what differs from run to run: the run's id, the digest, and a probability's last digits."""
    if "predictions" not in answer:
        return answer
    predictions = [
        {"label": p["label"], "probabilities": {label: round(value, 2) for label, value in p["probabilities"].items()}}
        for p in answer["predictions"]
    ]
    return {"predictions": predictions, "model": sorted(answer["model"]), "name": answer["model"]["name"]}


@pytest.mark.usefixtures("project")
def test_the_example_of_an_own_model_trains_and_exports(project: Project) -> None:
    (model,) = blocks("python", "class Net")
    (config,) = blocks("yaml", "custom")
    (project.folder / "my_model.py").write_text(model)
    (project.folder / "mine.yaml").write_text(config)
    assert yaml.safe_load(config)["model"]["args"] == {"width": 64}
    code, out, err = project.run("export", "train.epochs=2", config="mine.yaml")
    assert (code, err) == (0, [])
    assert "same answers as the model" in out[-1]


@pytest.mark.parametrize(
    ("page", "sections", "least"), [("training", "train|monitor|augment|model", 31), ("data", "prepare|data|train", 13)]
)
def test_every_key_that_a_page_names_exists(page: str, sections: str, least: int) -> None:
    members_of_data = {name for kind in members(Config.model_fields["data"].annotation) for name in kind.model_fields}
    keys = set(flatten(Config().model_dump(mode="json", by_alias=True))) | {f"data.{name}" for name in members_of_data}
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named = {key.rstrip(".*") for key in re.findall(rf"(?<![\w/])(?:{sections})\.[a-z_.*]+", text)}
    named -= {key for key in named if key.endswith((".jsonl", ".py"))}
    assert len(named) >= least
    assert [key for key in named if not any(known == key or known.startswith(f"{key}.") for known in keys)] == []


def test_the_page_on_data_lists_every_source() -> None:
    text = (ROOT / "docs" / "data.md").read_text().partition("## Sources")[2].partition("## Columns")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(tags(Config.model_fields["data"].annotation))


def test_the_page_on_data_lists_every_check() -> None:
    text = (ROOT / "docs" / "data.md").read_text().partition("## Checks")[2].partition("## Scale")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    calls = r'check="(\w+)"|finding_of\(\s*"(\w+)"|_ignored\(\s*\w+, "(\w+)"'
    sources = (path.read_text() for path in (ROOT / "pipeline" / "data").rglob("*.py"))
    made = {"".join(names) for source in sources for names in re.findall(calls, source)}
    assert len(made) > 20
    assert listed == made
