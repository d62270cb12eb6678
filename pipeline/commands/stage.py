"""One stage, as its name on the command line asks for it, and what is missing before it."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.commands.workplace import Workplace, need_config
from pipeline.config import Config, MlflowSettings, load
from pipeline.errors import UserError
from pipeline.stages import Stage, stage_named

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact
    from pipeline.choose import Choice
    from pipeline.runner import Runner


def run_stage(options: argparse.Namespace, work: Workplace) -> int:
    """Make what a stage makes; become the service where it is `serve`. Return 0."""
    stage = stage_named(options.command)
    need_config(options)
    if not stage.takes:  # it belongs to no run
        make(stage, load(options.config, options.words), None, work, stores=MlflowSettings(tracking_uri=None))
        return 0
    choice = _chosen(stage, options, work)
    stores = work.stores()
    with choice.run.lock():
        artifacts = make(stage, choice.config, choice, work, stores=stores)
        if choice.request != choice.run.request:
            choice.run.write_request(choice.request)
    if stage.makes is None:
        from pipeline.runner import Scoped

        stage.run(Scoped(choice.config, stage), *artifacts, say=work.say)
    return 0


def _chosen(stage: Stage, options: argparse.Namespace, work: Workplace) -> "Choice":
    from pipeline.choose import choose, choose_interrupted

    if getattr(options, "resume", False):
        return choose_interrupted(
            options.config, options.words, options.run, force=options.force, root=work.runs, warn=work.warn
        )
    if getattr(options, "force", False):
        raise UserError("command line: --force: goes with --resume, which is missing")
    choice = choose(stage, options.config, options.words, options.run, root=work.runs, warn=work.warn)
    if stage.makes is not None:
        return choice
    from pipeline.runner.served import settled

    return settled(choice, asked=stage.name)


def make(
    stage: Stage, config: Config, choice: "Choice | None", work: Workplace, *, stores: MlflowSettings
) -> "list[Artifact | None]":
    """Make what a stage makes, or what it takes when it makes nothing."""
    with running(stage, config, choice, work, stores=stores) as runner:
        return runner.inputs(stage) if stage.makes is None else [runner.make(stage.makes)]


@contextmanager
def running(
    stage: Stage, config: Config, choice: "Choice | None", work: Workplace, *, stores: MlflowSettings
) -> "Iterator[Runner]":
    """Yield a runner that tells the terminal and the stores, which get the rest however the block ends."""
    from pipeline.runner import Runner
    from pipeline.tracking.console import Console

    with Console(terminal=work.terminal, write=work.say) as console:
        runner = Runner(config, console, choice, asked=stage.name, stores=stores)
        try:
            yield runner
        finally:
            runner.close()
