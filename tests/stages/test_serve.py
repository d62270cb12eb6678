"""serve: what is missing is made, then this process becomes the service."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.stages.serve import _whole
from serving.bundle import Bundle
from serving.options import parse
from serving.schema import Feature, Schema
from tests.conftest import Project
from tests.service import served


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that this process would have become."""
    commands: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda path, words: commands.append(words))
    return commands


def test_a_missing_bundle_is_made_and_the_service_gets_every_option(project: Project, started: list[list[str]]) -> None:
    code, out, _ = project.run("serve", "serve.port=8123", "serve.workers=2", "serve.host=0.0.0.0")
    assert code == 0
    assert [line.split()[0] for line in out if " s  " in line] == ["prepare", "train", "export"]
    (words,) = started
    assert words[:4] == [sys.executable, "-m", "serving", "--bundle"]
    Bundle(Path(words[4]))
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert {
        "--host": "0.0.0.0",
        "--port": "8123",
        "--workers": "2",
        "--threads": "1",
        "--grace": "2.0",
    }.items() <= options.items()
    parse(words[3:])  # the service knows every one of them


def test_what_was_exported_on_request_is_what_is_served(project: Project, started: list[list[str]]) -> None:
    project.run("export", "export.bundle=torchscript", "train.epochs=2")
    trained = project.latest
    project.run("serve")
    assert project.latest == trained
    assert Bundle(Path(started[0][4])).description.artifact.runtime == "torchscript"


QUICK_SELECT = (
    "select.objective=bytes",
    "select.max_drop=0.2",
    "benchmark.precisions=[fp32]",
    "benchmark.batch_sizes=[1]",
    "benchmark.window_ms=2.0",
    "benchmark.windows=3",
    "benchmark.agree=0.9",
)


def test_a_selection_older_than_the_export_is_asked_about_and_nothing_is_measured(
    ready: Project, started: list[list[str]]
) -> None:
    ready.run("select", *QUICK_SELECT)
    assert ready.run("serve")[0] == 0
    ready.run("export", "export.golden_rows=8")
    code, out, err = ready.run("serve")
    folder = Path("runs") / ready.latest.name / "select"
    assert (code, out) == (2, [])
    (line,) = err
    assert line.partition("; ")[0] == f"serve: what {folder} chose is out of date (benchmark: exported changed)"
    assert line.partition("; ")[2] == "choose with `make select`, or take export's bundle with serve.bundle=export"
    code, _, err = ready.run("serve", "select.tie=0.5", "export.golden_rows=16")
    assert (code, err[0].partition(" chose ")[2].partition(";")[0]) == (
        2,
        "is out of date (export: export.golden_rows was 8, is 16)",
    ), "nothing is exported for it either"
    assert ready.run("serve", "serve.bundle=export")[0] == 0
    assert [words[4] for words in started] == [str(folder / "bundle"), str(folder.parent / "export" / "bundle")]


def test_where_select_chose_nothing_the_bundle_of_export_is_served_on_request_only(
    ready: Project, started: list[list[str]]
) -> None:
    assert ready.run("select", *QUICK_SELECT, "select.max_bytes=10")[0] == 3
    code, out, err = ready.run("serve")
    assert (code, out, len(err), started) == (2, [], 1, [])
    assert err[0].startswith(f"serve: select chose nothing, runs/{ready.latest.name}/select.partial is what it left; ")
    assert ready.run("serve", "serve.bundle=export")[0] == 0
    assert started[0][4].endswith("/export/bundle")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp"])
def test_the_request_to_copy_names_the_type_of_its_picture(project: Project, started: list[list[str]], suffix: str) -> None:
    random = np.random.default_rng(0)
    for number in range(48):
        file = project.folder / "pictures" / "ab"[number % 2] / f"{number}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 120, (8, 8), dtype=np.uint8) + np.uint8(120 * (number % 2))).save(file)
    code, out, err = project.run("serve", "data={source: images, path: pictures}", "train.epochs=1")
    assert (code, err) == (0, [])
    (line,) = [line for line in out if line.startswith("try: ")]
    assert f"'Content-Type: image/{'jpeg' if suffix == 'jpg' else suffix}'" in line
    assert f"/try-it.{suffix}" in line


def test_a_later_port_changes_nothing_but_the_port(ready: Project, started: list[list[str]]) -> None:
    ready.run("serve", "serve.port=8123")
    _, out, _ = ready.run("serve", "serve.port=8124")
    assert all("skipped" in line for line in out if not line.startswith("try: "))
    assert [words[words.index("--port") + 1] for words in started] == ["8123", "8124"]


TABLE = """\
age,member,paid,joined,mass,city,never,buys
41,yes,True,2011-04-05,1.5,Bern,,y
,no,False,,2.25,Zürich,,n
,,,2012-01-31,,Val d'Or,,y
33,,True,,,,,n
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("words", [[], ["serve.strict=true"]], ids=["", "strict"])
def test_the_printed_request_is_answered_and_has_the_types_of_a_client(tmp_path: Path, words: list[str]) -> None:
    header, *lines = TABLE.splitlines()
    # Each copy with a mass of its own, where there is one: rows that are the same count as one.
    copies = [line.replace("1.5", f"1.5{copy}").replace("2.25", f"2.25{copy}") for copy in range(30) for line in lines]
    (tmp_path / "rows.csv").write_text("\n".join([header, *copies]))
    config = tmp_path / "table.yaml"
    config.write_text(
        "data: {source: table, path: rows.csv, target: buys, columns: {age: number, never: number}}\n"
        "prepare: {allow: [leak]}\nmodel: {name: mlp, hidden: [4]}\ntrain: {epochs: 1}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_API_KEYS", "alpha,beta")
        with served(config, tmp_path, *words) as (_, process):
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith("try: ")).removeprefix("try: ").strip()
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=20, cwd="/")
    assert set(json.loads(done.stdout)["predictions"][0]["probabilities"]) == {"n", "y"}
    sent = json.loads(shlex.split(line)[shlex.split(line).index("-d") + 1])["records"][0]
    kinds = {name: type(cell) for name, cell in sent.items()}
    assert kinds == {"age": int, "member": str, "paid": bool, "joined": str, "mass": float, "city": str}
    assert sent["city"] in {"Bern", "Zürich", "Val d'Or"}


def test_cells_that_training_never_saw_are_shown_where_there_are_no_others() -> None:
    features = (Feature("age", 0, 90), Feature("city", 1, 1, "category", ("Bern",)), Feature("mass", 0, 9, nullable=True))
    schema = Schema(task="regression", kind="table", shape=(3,), target="y", minimum=0, maximum=90, features=features)
    assert _whole(schema, [[91, "Rome", None], [95, "Rome", 3.5], [97, "Bern", None]]) == [95, "Bern", 3.5]
    assert _whole(schema, [[91, "Rome", None]]) == [91, "Rome", None]
