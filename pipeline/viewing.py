"""What shows runs to people outside of the terminal: stores that lack part of a run get it, and the MLflow UI opens on one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipeline.config import MlflowSettings
from pipeline.errors import UserError
from pipeline.runs import all_runs
from pipeline.tracking.follower import NAMES, stdin_closed, stores_of
from serving.errors import first_line

_FILE = "mlflow.yaml"
Say = Callable[[str], None]


def follow(run: Path, store: str, settings: MlflowSettings) -> None:
    """Store a journal while a command writes it, until our standard input closes; raise UserError for what the store raises."""
    try:
        _project(store)(run / "journal.jsonl", settings, stdin_closed)
    except Exception as error:  # a store and what stands below it raise what they like
        raise UserError(first_line(error)) from error


def sync(root: Path, settings: MlflowSettings, *, say: Say, warn: Say) -> None:
    """Give every store what it lacks of every run; raise UserError with a line for each that did not take it."""
    stores = stores_of(settings)
    if not stores:
        raise UserError(f"{_FILE}: neither tracking_uri nor wandb_project names a store; set one of them")
    failed: list[str] = []
    for run in (run for run in all_runs(root, warn) if run.journal.is_file()):
        for store in stores:
            try:
                say(f"{run.id}: {_project(store)(run.journal, settings)} new journal lines stored in {NAMES[store]}")
            except Exception as error:  # a store and what stands below it raise what they like
                failed.append(f"{run.id}: {NAMES[store]} does not take it: {first_line(error)}")
    if failed:
        raise UserError(*failed)


def mlflow_ui(settings: MlflowSettings, *, say: Say) -> NoReturn:
    """Become the MLflow UI; raise UserError when there is no store, or it cannot be opened."""
    from pipeline.tracking.mlflow import ui_command

    uri = settings.tracking_uri
    if uri is None:
        raise UserError(f"{_FILE}: tracking_uri is null, so there is no MLflow store; name one, such as sqlite:///mlflow.db")
    try:
        page, command, environment = ui_command(settings)
    except Exception as error:  # mlflow and what stands below it raise what they like
        raise UserError(f"{_FILE}: tracking_uri {uri} cannot be opened: {first_line(error)}") from error
    say(f"MLflow UI over {uri}: {page}  (Ctrl-C stops)")
    os.execve(command[0], command, environment)


def _project(store: str) -> Callable[..., int]:
    if store == "wandb":
        from pipeline.tracking.wandb import project
    else:
        from pipeline.tracking.mlflow import project
    return project
