"""The layout is the architecture: one name for a stage everywhere, imports that go down, a service that stands alone."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.stages import STAGES
from serving.bundle import Bundle
from tests.conftest import ROOT, Finished

MAKEFILE = (ROOT / "Makefile").read_text()
NAMES = [stage.name for stage in STAGES]
SERVING_MAY_IMPORT = {
    "jinja2",
    "flask",
    "granian",
    "msgspec",
    "numpy",
    "onnxruntime",
    "opentelemetry",
    "PIL",
    "prometheus_client",
    "werkzeug",
    "serving",
    "torch",
}
OPTIONAL = {"opentelemetry", "requests"}  # of slipway[otel]
TRAINING_ONLY = {"torch", "mlflow", "pydantic", "yaml", "sklearn", "scipy", "onnx", "pipeline", "rich", "pandas", "polars"}
SOURCES = sorted(path for package in ("pipeline", "serving") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_has_one_name_in_make_cli_files_config_and_tests(name: str) -> None:
    assert re.search(rf"^{name}:.*## ", MAKEFILE, re.MULTILINE), "make target with help"
    assert (ROOT / "pipeline" / "stages" / f"{name}.py").is_file()
    assert name in Config.model_fields
    assert f"{name.capitalize()}Config" in (ROOT / "pipeline" / "config" / "sections.py").read_text()
    assert (ROOT / "tests" / "stages" / f"test_{name}.py").is_file()


def test_help_lists_every_target() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    shown = set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE))
    assert len(targets) > 15
    assert shown == targets
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    assert phony == targets


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, at module level or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_serving_imports_nothing_but_its_minimal_set() -> None:
    files = [path for path in SOURCES if path.is_relative_to(ROOT / "serving")]
    assert len(files) >= 10
    used = {name for path in files for name in imports(path)} - set(sys.stdlib_module_names)
    assert used <= SERVING_MAY_IMPORT
    assert [path.name for path in files if "torch" in imports(path)] == ["runtimes.py"], "torch only for a TorchScript bundle"
    assert [path.name for path in files if "PIL" in imports(path)] == ["images.py"], "Pillow only for uploaded pictures"


@pytest.mark.parametrize(
    ("package", "owners"),
    [
        ("mlflow", {"pipeline/tracking/mlflow.py"}),
        ("tensorboard", {"pipeline/tracking/tensorboard.py"}),
        ("wandb", {"pipeline/tracking/wandb.py"}),
        ("kornia", {"pipeline/data/augmentation.py"}),
        (
            "PIL",
            {
                "pipeline/data/sources/pictures.py",
                "pipeline/reporting/grids.py",
                "pipeline/tracking/mlflow.py",
                "pipeline/tracking/wandb.py",
                "serving/images.py",
            },
        ),
        ("matplotlib", {"pipeline/reporting/figures.py"}),
        ("rich", {"pipeline/tracking/console.py"}),
        (
            "onnxruntime",  # what quantizes is part of the same package as what runs
            {"serving/runtimes.py", "pipeline/quantization/onnx_graph.py", "pipeline/quantization/onnx_static.py"},
        ),
        ("flask", {"serving/admin.py", "serving/app.py", "serving/gate.py", "serving/page.py"}),
        ("opentelemetry", {"serving/telemetry/traces.py"}),
        ("granian", {"serving/command.py", "serving/gate.py", "serving/supervisor.py"}),
        (
            "onnx",
            {
                "pipeline/exporting/formats.py",
                "pipeline/quantization/onnx_dynamic.py",
                "pipeline/quantization/onnx_graph.py",
                "pipeline/quantization/onnx_static.py",
            },
        ),
    ],
)
def test_each_heavy_package_has_one_owner(package: str, owners: set[str]) -> None:
    assert {str(path.relative_to(ROOT)) for path in SOURCES if package in imports(path)} == owners


def test_serving_answers_where_no_training_package_can_be_imported(finished: Finished) -> None:
    bundle = finished.exported.bundle
    inputs = Bundle(bundle).golden().inputs[0]
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING_ONLY | OPTIONAL!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from serving.app import create_app
from serving.bundle import Bundle
client = create_app(Bundle(Path({str(bundle)!r}))).test_client()
answer = client.post("/predict", json={{"inputs": [{inputs!r}]}})
assert answer.status_code == 200, answer.data
print(answer.json["predictions"][0]["label"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {"setosa", "versicolor", "virginica"}


@pytest.mark.parametrize(
    "module", ["pipeline.cli", "pipeline.runner", "pipeline.training.loop", "pipeline.stages.export", "serving.app"]
)
def test_importing_does_nothing(module: str, tmp_path: Path) -> None:
    code = f"import os, {module}; assert not os.listdir('.'), os.listdir('.')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)


def test_contributing_shows_the_layers_that_are_checked_and_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for package in settings["root_packages"]:
        (contract,) = (one for one in settings["contracts"] if one.get("containers") == [package])
        shown = re.findall(rf"^{package}/ +\S.*?  +(\S.* > .*(?:\n +> .*)*)", text, re.MULTILINE)
        assert [" ".join(shown[0].split())] == [" > ".join(contract["layers"])]
    paths = re.findall(r"`((?:pipeline|serving|tests|configs)/[\w/.]+)`", text)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_no_module_is_called_by_a_name_that_says_nothing() -> None:
    empty = {"utils", "helpers", "common", "manager", "base", "misc"}
    assert not [path for path in SOURCES if path.stem in empty]


def test_files_and_functions_stay_short() -> None:
    lengths = {path: path.read_text().count("\n") for path in SOURCES}
    assert [(path.name, lines) for path, lines in lengths.items() if lines > 250] == []
    functions = [
        node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    ]
    assert len(functions) > 150
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno > 60] == []


@pytest.mark.parametrize("stage", ["export", "select"])
def test_the_image_may_hold_the_bundle_of_either_stage(stage: str) -> None:
    assert f"!runs/*/{stage}/bundle" in (ROOT / ".dockerignore").read_text().splitlines()
