"""What is asked of a config before its training is paid for: does it make sense (`sanity`), and how fast (`lr-find`)."""

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artifacts import Prepared
from pipeline.config import Config
from pipeline.config.model_sections import CustomConfig
from pipeline.errors import GateRefused, UserError
from pipeline.reporting.lr_figure import lr_figure
from pipeline.sanity import full_checks
from pipeline.training.assembly import Assembly, assemble
from pipeline.training.lr_find import HIGHEST, LOWEST, lr_range

Say = Callable[[str], object]


def sanity(config: Config, prepared: Prepared, *, say: Say) -> None:
    """Say each finding that is in order or a warning; raise GateRefused with those that failed."""
    failed, warnings, passed = [], 0, 0
    for finding in full_checks(_assembled(config, prepared), config):
        if finding.level == "FAIL":
            failed.append(finding.line())
            continue
        say(finding.line())
        warnings += finding.level == "WARN"
        passed += finding.level == "PASS"
    say(f"sanity: {passed} passed, {warnings} warned, {len(failed)} failed")
    if failed:
        raise GateRefused(*failed)


def lr_find(config: Config, prepared: Prepared, *, file: Path, words: Sequence[str], folder: Path, say: Say) -> None:
    """Run the range test, write its picture into `folder`, and say which learning rate to use and how.

    file, words: of the command, to be repeated in the one that is said. Raises GateRefused when the loss never fell.
    """
    parts = _assembled(config, prepared)
    found = lr_range(parts, config.train, seed=config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{config.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.png"
    marks = {}
    if found.steepest is not None and found.tenth is not None:
        marks = {"falls fastest": found.steepest, "a tenth of the lowest point": found.tenth}
    optimizer, size = config.train.optimizer.name, parts.choices["batch_size"]
    title = f"{config.name}: {optimizer}, batches of {size}, {len(found.rates)} steps"
    if found.rates:
        lr_figure(path, found.rates, found.losses, found.smooth, marks=marks, title=title)
    rest = [word for word in words if not word.startswith("train.lr=")]
    if found.steepest is None or found.tenth is None:
        picture = f" (picture: {path})" if found.rates else ""
        why = f"the loss fell at no learning rate between {LOWEST:g} and {HIGHEST:g}{picture}"
        raise GateRefused(f"lr-find: {why}; look for the reason with: {_command('sanity', file, rest)}")
    say(f"{title}; the rate rose from {LOWEST:g} to {found.rates[-1]:.2g}{', where the loss exploded' * found.exploded}")
    say(f"suggested  train.lr={_rounded(found.steepest)}, where the loss fell fastest (configured: {config.train.lr:g})")
    say(f"or         train.lr={_rounded(found.tenth)}, a tenth of the rate with the lowest loss")
    say(f"picture    {path}")
    say(f"use it     {_command('train', file, [*rest, f'train.lr={_rounded(found.steepest)}'])}")


def _assembled(config: Config, prepared: Prepared) -> Assembly:
    source = None
    if isinstance(config.model, CustomConfig):
        if not Path(config.model.file).is_file():
            raise UserError(
                f"model.file: there is no file {config.model.file!r}; paths are relative to the folder of the command"
            )
        source = Path(config.model.file).read_bytes()
    return assemble(config, prepared, source=source)


def _command(name: str, file: Path, words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "pipeline", name, "--config", str(file), *words])


def _rounded(rate: float) -> str:
    """Return two digits: more would claim what 160 steps cannot know."""
    return f"{float(f'{rate:.1e}'):g}"
