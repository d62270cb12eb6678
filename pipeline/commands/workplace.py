"""Where commands work, and whom they tell."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import MlflowSettings, load_section
from pipeline.errors import UserError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # argparse names it nowhere else


@dataclass(frozen=True)
class Workplace:
    """runs: their folder. mlflow: file with the settings of stores. say, warn: take a line for stdout, for stderr."""

    runs: Path
    mlflow: Path
    terminal: bool
    say: Callable[[str], None]
    warn: Callable[[str], None]

    def stores(self) -> MlflowSettings:
        """Return the settings of stores; raise ConfigError with a line for each fault."""
        return load_section(MlflowSettings, self.mlflow)


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the config's file and the words that win over it."""
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file, such as configs/digits.yaml")
    command.add_argument("words", nargs="*", metavar="section.key=value", help="wins over the file, such as train.epochs=3")


def add_run(command: argparse.ArgumentParser) -> None:
    """Add the choice of a run."""
    command.add_argument("--run", default="latest", metavar="ID", help="the run to work on (default: the newest that fits)")


def need_config(options: argparse.Namespace) -> None:
    """Raise UserError where no config is named, and no run that has one."""
    if options.config is None and getattr(options, "run", "latest") == "latest":
        raise UserError("command line: --config: which configuration? for example --config configs/digits.yaml")
