"""Run folders: `runs/<utc-time>-<config>-<hash6>/`, one for each configuration that was trained.

run.json      what was asked for, so that a later command can continue
config.yaml   every key, resolved
journal.jsonl every metric and event (pipeline.tracking)
prepare/      a link to the prepared rows, which runs share
<stage>/      complete, or absent; `<stage>.partial/` while it is being made
latest        in `runs/`: a link to the run that the last command worked on
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import resolved_yaml
from pipeline.errors import UserError
from serving.errors import first_line
from serving.files import sync_folder, write_atomic

LATEST = "latest"


class Request(msgspec.Struct, frozen=True):
    """What a run was asked for.

    `identity`: digest of everything that its training depends on. `config`: every key, resolved. `words`: the keys that were
    set on the command line, with their text.
    """

    identity: str
    config: dict[str, Any]
    words: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name, unique among runs."""
        return self.folder.name

    @property
    def journal(self) -> Path:
        """The file that every metric and event is appended to."""
        return self.folder / "journal.jsonl"

    @property
    def request(self) -> Request:
        """What was asked for when the run was made."""
        try:
            return msgspec.json.decode((self.folder / "run.json").read_bytes(), type=Request)
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.folder}: run.json is missing or damaged ({first_line(error)}); delete the folder"
            ) from error

    def write_request(self, request: Request) -> None:
        """Write down what the run is asked for, for people and for later commands."""
        write_atomic(self.folder / "config.yaml", resolved_yaml(request.config).encode())
        write_atomic(self.folder / "run.json", msgspec.json.format(msgspec.json.encode(request), indent=2))

    def link(self, name: str, folder: Path) -> None:
        """Make `name` in this run a link to a folder that runs share."""
        _link(self.folder / name, Path(os.path.relpath(folder, self.folder)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run against other commands; the system frees it when this process ends, however it ends."""
        with (self.folder / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"{self.folder}: another command is working on this run; wait for it, or stop it") from error
            yield


@contextmanager
def wait_for(lock: Path) -> Iterator[None]:
    """Hold a lock file, after whoever holds it now."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def new_run(root: Path, request: Request) -> Run:
    """Make a run's folder and write down what it is for."""
    root.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC)
    for attempt in range(100):
        suffix = f"-{attempt + 1}" if attempt else ""
        run = Run(root / f"{started:%Y%m%dT%H%M%SZ}-{request.config['name']}-{request.identity[:6]}{suffix}")
        try:
            run.folder.mkdir()
        except FileExistsError:  # a second run of the same config in the same second
            continue
        run.write_request(request)
        return run
    raise UserError(f"{root}: 100 runs of this config began in this second")


def named_run(root: Path, name: str) -> Run:
    """Return the run with this id; `latest` is the one that the last command worked on."""
    if not (root / name / "run.json").is_file():
        known = [run.id for run in all_runs(root)][:5]
        raise UserError(
            f"--run {name}: there is no such run below {root}/" + (f"; the newest are {', '.join(known)}" if known else "")
        )
    return Run((root / name).resolve() if name == LATEST else root / name)


def all_runs(root: Path, warn: Callable[[str], None] | None = None) -> Sequence[Run]:
    """Return every run, the one last worked on first, the others from newest to oldest; `warn` of one that is damaged."""
    if not root.is_dir():
        return []
    latest = (root / LATEST).readlink().name if (root / LATEST).is_symlink() else ""
    folders = [path for path in root.iterdir() if not path.is_symlink() and (path / "run.json").is_file()]
    whole = []
    for run in (Run(path) for path in sorted(folders, key=lambda path: (path.name == latest, path.name), reverse=True)):
        try:
            _ = run.request
        except UserError as error:
            if warn is not None:
                warn(str(error))
        else:
            whole.append(run)
    return whole


def point_latest(run: Run) -> None:
    """Make `runs/latest` name this run."""
    _link(run.folder.parent / LATEST, Path(run.id))


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def partial_of(final: Path) -> Path:
    """Return where a folder stands while it is being made."""
    return final.with_name(f"{final.name}.partial")


@contextmanager
def partial_folder(final: Path, *, keep: bool = False) -> Iterator[Path]:
    """Yield a folder that takes the name `final` when the block ends without an error: empty, or as left with `keep`.

    A folder with the final name is complete or absent. What a failed attempt left stays under `<name>.partial` to be looked
    at, until the next attempt.
    """
    partial = partial_of(final)
    if not keep:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=keep)
    for cut_off in partial.glob(".*"):  # files that a killed process was writing
        cut_off.unlink()
    yield partial
    if final.exists():
        old = final.with_name(f"{final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        partial.rename(final)
        shutil.rmtree(old)
    else:
        partial.rename(final)
    sync_folder(final.parent)
