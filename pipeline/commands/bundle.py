"""`bundle`: where the bundle is that `serve` would serve, for what ships it; nothing is made."""

import argparse
from typing import TYPE_CHECKING

from pipeline.commands.workplace import Workplace, add_config, add_run, need_config
from pipeline.errors import UserError
from pipeline.stages import stage_named

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.commands.workplace import Commands

_SUMMARY = "print the folder of the bundle that would be served; exit code 2 when there is none, or an old one"


def add_bundle(commands: "Commands", work: Workplace) -> None:
    """Add the command."""

    def run(options: argparse.Namespace) -> int:
        need_config(options)
        work.say(str(_bundle(options, work)))
        return 0

    command = commands.add_parser("bundle", help=_SUMMARY, description=f"bundle: {_SUMMARY}.")
    add_config(command)
    add_run(command)
    command.add_argument("--without-torch", action="store_true", help="refuse a bundle that needs torch, which the image lacks")
    command.set_defaults(run_command=run)


def _bundle(options: argparse.Namespace, work: Workplace) -> "Path":
    from pipeline.choose import find
    from pipeline.runner.served import finished, settled

    choice = find(stage_named("serve"), options.config, options.words, options.run, root=work.runs, warn=work.warn)
    if choice is None:
        raise UserError(
            f"bundle: no trained run of {options.config} below {work.runs}/ with today's config and code; make export, or name "
            "a run by its id"
        )
    served = finished(settled(choice, asked="bundle"), asked="bundle")
    artifact = served.open_bundle().description.artifact  # every digest is checked on the way
    if options.without_torch and artifact.provider != "cpu":
        raise UserError(
            f"bundle: {served.bundle} was measured on {artifact.provider}, and the image runs models on cpu alone; leave "
            f'{artifact.provider} out, as with `make select SET="benchmark.providers=[cpu]"`'
        )
    if options.without_torch and artifact.runtime == "torchscript":
        raise UserError(
            f"bundle: {served.bundle} holds TorchScript, and the image has no torch; choose ONNX, as with `make select "
            'SET="export.formats=[onnx]"`'
        )
    return served.bundle
