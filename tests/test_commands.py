"""`all` goes as far as the model allows; `bundle` says what would be served, and makes nothing."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.stages.test_serve import QUICK_SELECT

NARROW = "model.hidden=[1]"  # one channel: none may go, and half of one is one


def test_all_leaves_out_what_the_model_does_not_allow_and_later_commands_know_it(project: Project) -> None:
    code, out, err = project.run("all", NARROW, *QUICK_SELECT)
    assert code == 0, (out, err)
    assert [line.partition(": ")[2].partition(": ")[0] for line in err] == [
        "prune is left out, and VARIANTS=[train,distill] goes on",
        "distill is left out, and VARIANTS=[train] goes on",
    ]
    assert out[-1].startswith("evaluate ")
    assert [path.name for path in (project.latest / "export").glob("*.onnx")] == ["train-fp32.onnx"]
    folder = Path("runs") / project.latest.name / "select" / "bundle"
    assert project.run("bundle") == (0, [str(folder)], []), "the selection is of what the run has"


@pytest.mark.parametrize("named", ["option", "word", "file"])
def test_a_variant_that_was_asked_for_is_refused_with_the_words_that_leave_it_out(project: Project, named: str) -> None:
    words = {"option": ("--variants", "[train,prune]"), "word": ("export.variants=[train,prune]",), "file": ()}[named]
    if named == "file":
        with (project.folder / "quick.yaml").open("a") as file:
            file.write("export: {variants: [train, prune]}\n")
    code, out, err = project.run("all", NARROW, *words)
    assert code == 3
    assert err[0].startswith("prune: ")
    assert err[-1].endswith("; or leave it out with VARIANTS=[train]")
    assert not any(line.startswith("distill") for line in out)


def test_a_setting_that_is_wrong_is_no_reason_to_leave_a_variant_out(project: Project) -> None:
    code, _, err = project.run("all", NARROW, "distill.teacher=nobody")
    assert code == 2
    assert err[-1].startswith("distill.teacher: 'nobody': there is no such run")


def test_a_fault_of_the_config_is_told_before_anything_is_made(project: Project) -> None:
    code, out, err = project.run("all", "--variants", "[prune]")
    assert (code, out) == (2, [])
    assert "lacks train" in err[0]


def test_bundle_is_of_the_newest_run_of_its_config_and_makes_nothing(project: Project) -> None:
    code, _, err = project.run("bundle")
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith("bundle: no trained run of quick.yaml below runs/")
    assert not (project.folder / "runs").exists()
    project.run("train")
    mine = Path("runs") / project.latest.name
    code, out, err = project.run("bundle")
    assert (code, out) == (2, [])
    assert err == [f"bundle: no bundle of export that is up to date in {mine} (there is no {mine}/export); make export"]
    project.run("export")
    shutil.copy(project.folder / "quick.yaml", project.folder / "other.yaml")
    project.run("export", "seed=5", config="other.yaml")
    assert project.latest.name != mine.name
    assert project.run("bundle") == (0, [str(mine / "export" / "bundle")], [])
    other = project.latest.name
    assert project.run("bundle", "--run", other, config=None) == (0, [f"runs/{other}/export/bundle"], [])
    code, _, err = project.run("bundle", "export.atol=0.5")
    assert (code, err[0].partition("(")[2]) == (2, "export: export.atol was 0.0001, is 0.5); make export")


def test_an_image_without_torch_takes_no_torchscript(project: Project) -> None:
    project.run("export", "export.bundle=torchscript")
    assert project.run("bundle")[0] == 0
    code, out, err = project.run("bundle", "--without-torch")
    assert (code, out) == (2, [])
    assert "holds TorchScript, and the image has no torch; choose ONNX" in err[0]


def test_a_damaged_bundle_is_not_named(ready: Project) -> None:
    ready.run("export")
    file = ready.latest / "export" / "bundle" / "golden.json"
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1))
    code, out, err = ready.run("bundle")
    assert (code, out, len(err)) == (2, [], 1)
    assert "golden.json" in err[0]
