"""From a file or a folder to `configs/<name>.yaml`, and what to type next."""

import re
import shlex
import unicodedata
from collections.abc import Callable
from pathlib import Path

from pipeline.config import load
from pipeline.errors import UserError
from pipeline.init.entries import rendered
from pipeline.init.look import Look, look_at
from pipeline.init.sections import data_section, kinds_of
from pipeline.init.suggest import suggestions
from serving.files import write_atomic

_CONFIGS = Path("configs")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # as Config.name
_MOST_COLUMNS = 40  # that the terminal shows
Say = Callable[[str], object]


def init(path: Path, *, target: str | None, name: str | None, force: bool, say: Say) -> Path:
    """Look at data, write a config for it, and return its path; `say` takes lines for people.

    target: the column to predict, several as "a,b"; None where the source says it. Raises UserError for data that no config
    could work with, for a name that is none, and for a config that is there already, unless `force`.
    """
    file = _CONFIGS / f"{_checked(name) if name is not None else name_for(path)}.yaml"
    if file.exists() and not force:
        raise UserError(
            f"init: {file} is there already; give another name with --name (NAME=), or replace it with --force (FORCE=1)"
        )
    look = look_at(path, target)
    for line in _summary(look):
        say(line)
    for finding in look.findings:
        if finding.verdict != "PASS":
            say(f"warning: {finding.line}")
    _CONFIGS.mkdir(exist_ok=True)
    _write(file, config_text(look, path))
    say(f"wrote {file}")
    say(f"next: make train export serve CONFIG={file}")
    return file


def config_text(look: Look, path: Path) -> str:
    """Return the commented YAML of a config for what was found."""
    header = (
        f"# Written by `make init` for {shlex.quote(str(path))}: yours to change.\n"
        "# Every key with its default: configs/base.yaml; the report of the data: report.html of `make prepare`.\n"
    )
    return header + rendered([data_section(look), *suggestions(look)])


def name_for(path: Path) -> str:
    """Return a name for a config out of a path: letters, digits, '_' and '-'; `data` where none is left."""
    stem = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:40] or "data"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(f"command line: --name: must be 1 to 40 letters, digits, '_' or '-' (value {name!r})")
    return name


def _write(file: Path, text: str) -> None:
    """Write a config that is known to load: what cannot be loaded is our bug, and leaves no file."""
    trial = file.with_name(f"{file.stem}.trial.yaml")
    try:
        write_atomic(trial, text.encode())
        load(trial, [f"name={file.stem}"])
        trial.replace(file)
    finally:
        trial.unlink(missing_ok=True)


def _summary(look: Look) -> list[str]:
    """Return the table of columns that the terminal shows."""
    what = f"{look.task}, {len(look.classes)} classes" if look.task == "classification" else look.task
    if look.columns is None:
        shape = " x ".join(map(str, look.shape))
        return [f"{look.origin}: {look.rows:,} rows of {shape} values; {what}"]
    kinds, targets = kinds_of(look), look.columns.target.names
    used = sum(kind != "ignore" for kind, _ in kinds.values())
    lines = [f"{look.origin}: {look.rows:,} rows, {used} features; predicts {', '.join(targets)} ({what})"]
    width = min(30, max(len(fact.name) for fact in look.facts))
    for fact in look.facts[:_MOST_COLUMNS]:
        kind, words = kinds.get(fact.name, ("target", fact.words))
        lines.append(f"  {' '.join(fact.name.split()):<{width}}  {kind:<8}  {words}")
    return [*lines, *([f"  and {len(look.facts) - _MOST_COLUMNS} more"] if len(look.facts) > _MOST_COLUMNS else [])]
