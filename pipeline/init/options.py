"""`init` on the command line: `python -m pipeline init DATA [--target COLUMN] [--name NAME] [--force]`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # argparse names it nowhere else

_SUMMARY = "look at your data and write a commented config for it"


def add_init(commands: "Commands", *, say: Callable[[str], object]) -> None:
    """Add the command; `say` takes its lines."""

    def run(options: argparse.Namespace) -> int:
        from pipeline.init.start import init

        target = options.target or None  # make passes an empty one
        init(options.path, target=target, name=options.name or None, force=options.force, say=say)
        return 0

    command = commands.add_parser("init", help=_SUMMARY, description=f"init: {_SUMMARY}.")
    command.add_argument(
        "path",
        type=Path,
        metavar="DATA",
        help="a .csv, .tsv, .parquet, .npz, .npy or .py file, a folder of Parquet or pictures",
    )
    command.add_argument("--target", metavar="COLUMN", help="what to predict; several: a,b")
    command.add_argument("--name", metavar="NAME", help="of configs/NAME.yaml (default: as the data is called)")
    command.add_argument("--force", action="store_true", help="replace a config that is there")
    command.set_defaults(run_command=run)
