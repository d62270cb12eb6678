"""A stage's folder is complete or absent; a run is one command's at a time; `latest` names the run last worked on."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.runs import Request, all_runs, named_run, new_run, partial_folder, point_latest

REQUEST = Request("abcdef0123", {"name": "quick"}, {"train.epochs": "3"})


def test_a_folder_appears_only_when_the_work_is_done(tmp_path: Path) -> None:
    final = tmp_path / "train"
    with partial_folder(final) as out:
        (out / "best.pt").write_text("weights")
        assert not final.exists()
    assert (final / "best.pt").read_text() == "weights"
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_failed_attempt_leaves_the_finished_folder_alone_and_its_own_remains_to_look_at(tmp_path: Path) -> None:
    final = tmp_path / "export"
    with partial_folder(final) as out:
        (out / "parity.json").write_text("first")
    with pytest.raises(ZeroDivisionError), partial_folder(final) as out:
        (out / "parity.json").write_text("second")
        raise ZeroDivisionError
    assert (final / "parity.json").read_text() == "first"
    assert (tmp_path / "export.partial" / "parity.json").read_text() == "second"


def test_the_next_attempt_starts_empty_and_replaces_the_folder(tmp_path: Path) -> None:
    final = tmp_path / "export"
    (tmp_path / "export.partial").mkdir()
    (tmp_path / "export.partial" / "rubbish").touch()
    final.mkdir()
    (final / "old").touch()
    with partial_folder(final) as out:
        (out / "new").touch()
    assert [path.name for path in final.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_killed_process_leaves_no_finished_folder(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from pipeline.runs import partial_folder\n"
        f"with partial_folder(Path({str(tmp_path / 'train')!r})) as out:\n"
        "    (out / 'best.pt').write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [path.name for path in tmp_path.iterdir()] == ["train.partial"]


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    runs = {new_run(tmp_path, REQUEST).id for _ in range(3)}
    assert len(runs) == 3
    assert all("-quick-abcdef" in run for run in runs)


def test_a_run_remembers_what_it_was_asked_for(tmp_path: Path) -> None:
    run = new_run(tmp_path, REQUEST)
    assert run.request == REQUEST
    assert (run.folder / "config.yaml").read_text() == "{name: quick}\n" or "name: quick" in (
        run.folder / "config.yaml"
    ).read_text()


def test_latest_names_the_run_last_worked_on_and_it_is_considered_first(tmp_path: Path) -> None:
    first, second = new_run(tmp_path, REQUEST), new_run(tmp_path, REQUEST)
    point_latest(second)
    point_latest(first)
    assert (tmp_path / "latest").resolve() == first.folder.resolve()
    assert [run.id for run in all_runs(tmp_path)] == [first.id, second.id]
    assert named_run(tmp_path, "latest").id == first.id


def test_an_unknown_run_is_refused_and_the_newest_are_named(tmp_path: Path) -> None:
    known = new_run(tmp_path, REQUEST)
    with pytest.raises(UserError, match=f"--run nope: there is no such run .*{known.id}"):
        named_run(tmp_path, "nope")


def test_a_second_command_on_the_same_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    run = new_run(tmp_path, REQUEST)
    with run.lock(), pytest.raises(UserError, match="another command is working on this run"), run.lock():
        pass
    with run.lock():
        pass
