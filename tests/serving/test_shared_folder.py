"""The folder that the processes of one service share: there while one of them lives, and not left behind for ever."""

import os
import signal
import time
from pathlib import Path

import pytest

from serving.shared_folder import remove_abandoned, shared_folder
from tests.serving.server import LIMIT_S, running


def test_the_folder_of_a_killed_service_is_removed_by_the_next_and_those_of_living_ones_stay(
    table_bundle: Path, tmp_path: Path
) -> None:
    with running(table_bundle, TMPDIR=str(tmp_path)) as living, running(table_bundle, TMPDIR=str(tmp_path)) as killed:
        living.wait_until_ready()
        killed.wait_until_ready()
        before = set(tmp_path.glob("slipway-*"))
        workers = killed.workers()
        killed.process.kill()
        deadline = time.monotonic() + LIMIT_S
        while any(Path(f"/proc/{worker}").exists() for worker in workers):  # they end with their parent
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert set(tmp_path.glob("slipway-*")) == before
        with running(table_bundle, TMPDIR=str(tmp_path)) as third:
            third.wait_until_ready()
            after = set(tmp_path.glob("slipway-*"))
            assert (len(before), len(after), len(before & after)) == (2, 2, 1)
            assert third.stop(signal.SIGTERM)[0] == 0
        assert living.request("GET", "/readyz").status == 200
        assert living.stop(signal.SIGTERM)[0] == 0
    assert list(tmp_path.glob("slipway-*")) == []


@pytest.fixture
def abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a process leaves that is killed while it holds a folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    child = os.fork()
    if child == 0:
        with shared_folder() as folder:
            (folder / "order.json").write_text("{}")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (folder,) = tmp_path.iterdir()
    return folder


def test_a_folder_is_held_while_it_is_used_and_given_up_by_the_death_of_its_process(abandoned: Path, tmp_path: Path) -> None:
    with shared_folder() as folder:
        assert list(tmp_path.iterdir()) == [folder]
        assert remove_abandoned(tmp_path) == []
        child = os.fork()  # a worker holds it, too
        if child == 0:
            signal.pause()
    folder.mkdir(mode=0o700)  # whatever has this name now
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert remove_abandoned(tmp_path) == []


def test_the_forks_of_a_dead_process_hold_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        with shared_folder():
            worker = os.fork()
            if worker == 0:
                signal.pause()
            os.write(write, str(worker).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    worker = int(os.read(read, 20))
    assert remove_abandoned(tmp_path) == []
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_S
    while not remove_abandoned(tmp_path):
        assert time.monotonic() < deadline
    assert list(tmp_path.iterdir()) == []
    os.close(read)
    os.close(write)


def test_what_is_not_surely_an_abandoned_folder_of_this_user_stays(
    abandoned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    abandoned.rename(elsewhere)
    link = tmp_path / "slipway-link"
    link.symlink_to(elsewhere)
    (tmp_path / "slipway-without-a-lock").mkdir(mode=0o700)
    (tmp_path / "slipway-file").write_text("")
    linked = tmp_path / "slipway-linked-lock"
    linked.mkdir(mode=0o700)
    (linked / "held").symlink_to(elsewhere / "held")
    assert remove_abandoned(tmp_path) == []
    link.unlink()
    elsewhere.rename(abandoned)
    abandoned.chmod(0o770)  # others may have put something there
    assert remove_abandoned(tmp_path) == []
    abandoned.chmod(0o700)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)  # another user's
    assert remove_abandoned(tmp_path) == []
    monkeypatch.undo()
    assert remove_abandoned(tmp_path) == [abandoned]
