"""`all`: everything up to the chosen, proven bundle and the evaluated model, with the variants that the model allows."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from pipeline.commands.stage import running
from pipeline.commands.workplace import Workplace, add_config, add_run, need_config
from pipeline.config import Config, load
from pipeline.errors import GateRefused, SlipwayError, UserError
from pipeline.stages import stage_making, stage_named

if TYPE_CHECKING:
    from pipeline.choose import Choice
    from pipeline.commands.workplace import Commands
    from pipeline.runner import Runner

_SUMMARY = "everything up to the chosen, proven bundle, with variants of the model to choose from"
_EVERY = ("train", "prune", "distill")
_KEY = "export.variants"


def add_all(commands: "Commands", work: Workplace) -> None:
    """Add the command."""

    def run(options: argparse.Namespace) -> int:
        need_config(options)
        return _run(options, work)

    command = commands.add_parser("all", help=_SUMMARY, description=f"all: {_SUMMARY}.")
    add_config(command)
    add_run(command)
    hint = "such as [train,prune]; default: export.variants where the config names it, else each one that the model allows"
    command.add_argument("--variants", metavar="LIST", help=hint)
    command.set_defaults(run_command=run)


def _run(options: argparse.Namespace, work: Workplace) -> int:
    from pipeline.artifacts import Evaluation, Selected
    from pipeline.choose import choose

    named = f"{_KEY}={options.variants}" if options.variants else None
    free = named is None and not _is_named(options)
    words = [named or f"{_KEY}={_written(_EVERY)}", *options.words] if named or free else options.words
    stage, stores = stage_named("select"), work.stores()
    allow = _is_no_fault if free else _nothing
    choice = choose(stage, options.config, words, options.run, root=work.runs, warn=work.warn, allow=allow)
    with choice.run.lock():
        with running(stage, choice.config, choice, work, stores=stores) as runner:
            possible = _possible(runner, choice.config, work, free=free)
            if possible == choice.config.export.variants:
                _ = runner.make(Selected), runner.make(Evaluation)
        if possible != choice.config.export.variants:
            choice = _with_variants(choice, possible)
            with running(stage, choice.config, choice, work, stores=stores) as runner:
                _ = runner.make(Selected), runner.make(Evaluation)
        if choice.request != choice.run.request:
            choice.run.write_request(choice.request)
    return 0


def _is_named(options: argparse.Namespace) -> bool:
    """Return whether the user's config, or a word, says which variants there are; of a named run only words are new."""
    file = options.config if options.run == "latest" else None
    return "variants" in load(file, options.words).export.model_fields_set


def _possible(runner: "Runner", config: Config, work: Workplace, *, free: bool) -> tuple[str, ...]:
    """Make the variants of a config, and return those that the model allows.

    Unless `free`, one that was asked for raises what its stage raised, with the words that leave it out.
    """
    from pipeline.artifacts import Distilled, Model, Pruned

    runner.make(Model)  # what fails before a variant is no reason to leave it out
    found = config.export.variants
    for kind in (Pruned, Distilled):
        if kind.variant not in found:
            continue
        try:
            runner.make(kind)
        except (GateRefused, UserError) as error:
            left = tuple(variant for variant in found if variant != kind.variant)
            if not free:
                raise _with_hint(error, f"or leave it out with VARIANTS={_written(left)}") from error
            if not _is_no_fault(error, config, stage_making(kind).name):
                raise
            work.warn(f"{kind.variant} is left out, and VARIANTS={_written(left)} goes on: {error.lines[0]}")
            found = left
    return found


def _is_no_fault(error: SlipwayError, config: Config, section: str) -> bool:
    """Return whether a refusal is the model's: a gate, or defaults that do not suit it, since nobody has set a key."""
    settings = getattr(config, section)
    return isinstance(error, GateRefused) or settings == type(settings)()


def _nothing(error: SlipwayError, config: Config, section: str) -> bool:  # noqa: ARG001  # in the place of _is_no_fault
    """Return that nothing is left out: it was asked for by name."""
    return False


def _with_hint(error: SlipwayError, hint: str) -> SlipwayError:
    *before, last = error.lines
    return type(error)(*before, f"{last}; {hint}")


def _with_variants(choice: "Choice", variants: Sequence[str]) -> "Choice":
    """Return a choice of fewer variants, which later commands then find as the run's own."""
    export = choice.config.export.model_copy(update={"variants": tuple(variants)})
    config = choice.config.model_copy(update={"export": export})
    request = msgspec.structs.replace(
        choice.request,
        words=choice.request.words | {_KEY: _written(variants)},
        config=choice.request.config | {"export": config.section("export")},
    )
    return replace(choice, config=config, request=request)


def _written(variants: Sequence[str]) -> str:
    return f"[{','.join(variants)}]"
