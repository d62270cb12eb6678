"""Which bundle a run serves: what was evaluated, never what nobody looked at since."""

from dataclasses import replace

from pipeline.artifacts import Exported, HasBundle, Selected
from pipeline.choose import Choice
from pipeline.errors import UserError
from pipeline.manifest import MANIFEST
from pipeline.runner.freshness import outdated
from pipeline.runs import partial_of
from pipeline.stages import stage_making

_ASK = "choose with `make select`, or take export's bundle with serve.bundle=export"


def settled(choice: Choice, *, asked: str) -> Choice:
    """Return the choice with `serve.bundle` decided where it is auto: that of select, once this run has it, else of export.

    asked: the command, for messages. Raises UserError where select has chosen from something else than there is now, or has
    refused: measuring and choosing takes minutes and reads the test split, and another bundle than the chosen one is not what
    was evaluated. With `serve.bundle` select or export nothing is left to ask.
    """
    if choice.config.serve.bundle != "auto":
        return choice
    folder = choice.run.folder / stage_making(Selected).name
    chosen = _with_bundle(choice, "select")
    if (folder / MANIFEST).is_file():
        reason = outdated(Selected, chosen.config, choice.run)
        if reason is not None:
            raise UserError(f"{asked}: what {folder} chose is out of date ({reason}); {_ASK}")
        return chosen
    if partial_of(folder).is_dir():
        raise UserError(f"{asked}: select chose nothing, {partial_of(folder)} is what it left; {_ASK}")
    return _with_bundle(choice, "export")


def finished(choice: Choice, *, asked: str) -> HasBundle:
    """Return what holds the bundle that a settled choice serves; raise UserError where it is missing or out of date."""
    kind: type[HasBundle] = Selected if choice.config.serve.bundle == "select" else Exported
    stage = stage_making(kind)
    reason = outdated(kind, choice.config, choice.run)
    if reason is not None:
        raise UserError(
            f"{asked}: no bundle of {stage.name} that is up to date in {choice.run.folder} ({reason}); make {stage.name}"
        )
    return kind.open(choice.run.folder / stage.name)


def _with_bundle(choice: Choice, bundle: str) -> Choice:
    serve = choice.config.serve.model_copy(update={"bundle": bundle})
    return replace(choice, config=choice.config.model_copy(update={"serve": serve}))
