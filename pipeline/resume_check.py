"""The proof that a resume loses nothing: a training left alone, and one killed at random moments and resumed, bit for bit.

python -m pipeline resume-check --config configs/digits.yaml --kills 5
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import Model
from pipeline.config import Config, resolved_yaml
from pipeline.data.sources.downloads import DOWNLOADS
from pipeline.errors import GateRefused, SlipwayError

_EVERY_S = 0.02  # between checkpoints: often, so that kills meet every moment of writing one
_PATHS = {  # keys whose paths are relative to the folder of the command
    "data": ("path", "targets_path", "validation_path", "test_path", "labels", "file"),
    "model": ("file",),
}
_LEFT_OUT = frozenset({"seconds"})  # wall time, the one thing that may differ


def resume_check(config: Config, *, kills: int, seed: int, say: Callable[[str], None]) -> None:
    """Train twice in a temporary folder and compare; raise GateRefused with the first key that differs."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="slipway-resume-") as name:
        folder = Path(name)
        values = with_absolute_paths(config)
        values["train"]["checkpoint_every_s"] = _EVERY_S
        link_downloads(folder)
        (folder / "check.yaml").write_text(resolved_yaml(values), encoding="utf-8")
        (folder / "mlflow.yaml").write_text("tracking_uri: null\n", encoding="utf-8")
        command = _Command(folder, root)
        started = time.monotonic()
        command.finish("name=alone")
        say(f"alone: trained in {time.monotonic() - started:.1f} s")
        killed = _kill_and_resume(command, kills, random.Random(seed), say)  # noqa: S311  # moments, no secrets
        difference = first_difference(_state(folder, "alone"), _state(folder, "killed"))
        if difference:
            raise GateRefused(f"resume-check: after {killed} kills the results differ: {difference}")
        say(
            f"OK: weights, optimizer, random generators, history and stop epoch are the same, bit for bit, after {killed} kills"
        )


def with_absolute_paths(config: Config) -> dict[str, Any]:
    """Return the values of a config that reads the same files from any folder."""
    values = config.model_dump(mode="json", by_alias=True)
    for section, keys in _PATHS.items():
        for key in keys:
            if values[section].get(key):
                values[section][key] = str(Path(values[section][key]).absolute())
    return values


def link_downloads(folder: Path) -> None:
    """Let trainings in `folder` find the sets that commands here have fetched."""
    if DOWNLOADS.is_dir():
        link = folder / DOWNLOADS
        link.parent.mkdir(parents=True)
        link.symlink_to(DOWNLOADS.absolute(), target_is_directory=True)


class _Command:
    """`python -m pipeline train` in a folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._environment = folder, {**os.environ, "PYTHONPATH": str(root)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start it."""
        command = [sys.executable, "-m", "pipeline", "train", "--config", "check.yaml", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=pipe, stderr=pipe, text=True)

    def finish(self, *words: str) -> None:
        """Run it to its end."""
        process = self.start(*words)
        _, errors = process.communicate()
        if process.returncode:
            raise SlipwayError(
                f"resume-check: the training failed with exit code {process.returncode}", *errors.splitlines()[-3:]
            )

    def partial(self) -> Path | None:
        """Return the folder of an unfinished training, if there is one that has written a checkpoint."""
        return next((path.parent for path in self._folder.glob(f"runs/*-killed-*/train.partial/{Model.LAST}")), None)

    def complete(self) -> bool:
        """Return whether the training is done."""
        return any(self._folder.glob("runs/*-killed-*/train/manifest.json"))


def _kill_and_resume(command: _Command, kills: int, chance: random.Random, say: Callable[[str], None]) -> int:
    """Start, kill at a random moment once a checkpoint is there, resume, until it is done; return the number of kills."""
    killed, words = 0, ["name=killed"]
    while killed < kills and not command.complete():
        before = _written(command)
        process = command.start(*words)
        while process.poll() is None and _written(command) == before:
            time.sleep(0.005)
        wait = chance.uniform(0, 0.6)
        try:
            _, errors = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise SlipwayError("resume-check: the resumed training failed:", *errors.splitlines()[-3:])
        killed += 1
        say(f"killed {wait:.2f} s after a checkpoint: {_where(command)}")
        words = ["name=killed", "--resume"]
    if not command.complete():
        command.finish(*words)
    return killed


def _written(command: _Command) -> float:
    partial = command.partial()
    return (partial / Model.LAST).stat().st_mtime if partial else 0.0


def _where(command: _Command) -> str:
    partial = command.partial()
    history = partial / Model.HISTORY if partial else None
    return f"{len(history.read_text().splitlines()) if history and history.is_file() else 0} epochs reported"


def _state(folder: Path, name: str) -> dict[str, Any]:
    """Return everything that must be the same, by key."""
    train = next(folder.glob(f"runs/*-{name}-*/train"))
    last = torch.load(train / Model.LAST, weights_only=True)
    manifest = json.loads((train / "manifest.json").read_text())
    history = [json.loads(line) for line in (train / Model.HISTORY).read_text().splitlines()]
    best = {"sha256": manifest["makes"][Model.BEST]["sha256"]}
    for words in ("origin", "choices"):  # hold the run's name, and how long things took
        last.pop(words)
    notes = {name: value for name, value in manifest["notes"].items() if name != "choices"}
    return {"best": best, "notes": notes, "history": history, "last": last}


def first_difference(one: Any, other: Any, path: str = "") -> str | None:
    """Return the first key at which two nested values differ, with both values; None when they are the same, bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and bool(torch.equal(one, other))
        return None if same else f"{path}: the tensors differ"
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = [key for key in {**one, **other} if key not in _LEFT_OUT]
        pairs: Sequence[tuple[Any, Any, Any]] = [(key, one.get(key), other.get(key)) for key in keys]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = [(index, *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        same = type(one) is type(other) and (one == other or (one != one and other != other))  # noqa: PLR0124  # NaN is NaN
        return None if same else f"{path}: {one!r} alone, {other!r} after kills"
    return next(filter(None, (first_difference(a, b, f"{path}.{key}" if path else str(key)) for key, a, b in pairs)), None)
