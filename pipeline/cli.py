"""The command line: `python -m pipeline <stage> --config FILE [--run ID] [section.key=value …]`.

Exit codes: 0 done, 1 our bug, 2 the user's error, 3 a gate refused, 4 training became non-finite, 130 interrupted. Help and
config errors appear at once: torch and mlflow are imported by the stages that need them, later.
"""

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.commands.bundle import add_bundle
from pipeline.commands.everything import add_all
from pipeline.commands.stage import make, run_stage
from pipeline.commands.workplace import Workplace, add_config, add_run, need_config
from pipeline.config import Config, MlflowSettings, base_yaml, load, resolved_yaml
from pipeline.errors import Interrupted, SlipwayError, UserError
from pipeline.init.options import add_init
from pipeline.stages import STAGES, stage_named
from serving.errors import ServingError

MLFLOW_FILE = Path("mlflow.yaml")
RUNS = Path("runs")
_INTERRUPTED = (
    "interrupted; complete stages are kept, a training that has saved a step goes on with --resume, others start anew"
)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends like Ctrl-C
    options = _parse(arguments)
    run: Callable[[argparse.Namespace], int] = options.run_command
    try:
        return run(options)
    except SlipwayError as error:
        if isinstance(error, Interrupted):
            _hear_no_more(own_process=arguments is None)
        return _fail(error.exit_code, error.lines)
    except ServingError as error:
        return _fail(UserError.exit_code, [str(error)])
    except KeyboardInterrupt:
        _hear_no_more(own_process=arguments is None)
        return _fail(Interrupted.exit_code, [_INTERRUPTED])
    except BrokenPipeError:  # the reader of our output went away, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        hint = "; make room, then run the command again; add --resume if it was training" if error.errno in _NO_ROOM else ""
        return _fail(UserError.exit_code, [f"{error.filename or 'output'}: {(error.strerror or str(error)).lower()}{hint}"])


def _hear_no_more(*, own_process: bool) -> None:
    """Ignore further signals: what libraries do as this process ends would answer them with a traceback."""
    if own_process:  # whoever calls `main` with arguments, such as a test, lives on
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


class _Output:
    """Standard output that goes quiet when its reader goes away, as in `| head`: the work is not the reader's to end."""

    def __init__(self) -> None:
        self._open = True

    def line(self, text: str) -> None:
        if self._open:
            try:
                print(text, flush=True)
            except BrokenPipeError:
                self._open = False
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _workplace() -> Workplace:
    return Workplace(RUNS, MLFLOW_FILE, terminal=sys.stdout.isatty(), say=_Output().line, warn=_warn)


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def _fail(code: int, lines: Sequence[str]) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code


def _show_config(options: argparse.Namespace) -> int:
    if options.schema:
        print(json.dumps(Config.model_json_schema(by_alias=True), indent=2))
    elif options.defaults:
        print(base_yaml(), end="")
    else:
        print(resolved_yaml(load(options.config, options.words).model_dump(mode="json", by_alias=True)), end="")
    return 0


def _resume_check(options: argparse.Namespace) -> int:
    from pipeline.resume_check import resume_check

    if options.kills < 1:
        raise UserError(f"command line: --kills: must be 1 or more, or nothing is proven (value {options.kills})")
    resume_check(load(options.config, options.words), kills=options.kills, seed=options.seed, say=partial(print, flush=True))
    return 0


def _before_training(options: argparse.Namespace) -> int:
    need_config(options)
    config = load(options.config, options.words)  # faults are told before torch is imported
    from pipeline.artifacts import Prepared
    from pipeline.commands.before_training import lr_find, sanity

    work = _workplace()
    (prepared,) = make(stage_named("prepare"), config, None, work, stores=MlflowSettings(tracking_uri=None))
    assert isinstance(prepared, Prepared)
    folder = RUNS / "lr-find"  # no run: it has no run.json
    if options.command == "sanity":
        sanity(config, prepared, say=work.say)
    else:
        lr_find(config, prepared, file=options.config, words=options.words, folder=folder, say=work.say)
    return 0


def _sync(options: argparse.Namespace) -> int:
    from pipeline import viewing

    settings = _workplace().stores()
    if options.follow:
        viewing.follow(Path(options.run), options.to, settings)
    else:
        viewing.sync(RUNS, settings, say=_Output().line, warn=_warn)
    return 0


def _tensorboard(options: argparse.Namespace) -> int:
    from pipeline.tracking.tensorboard_view import show_runs

    return show_runs(RUNS, ["--host", options.host, "--port", str(options.port)])


def _mlflow_ui(_: argparse.Namespace) -> int:
    from pipeline import viewing

    viewing.mlflow_ui(_workplace().stores(), say=_Output().line)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; words may stand before, between and after options, which argparse cannot."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    words = [word for word in left if "=" in word and not word.startswith("-") and hasattr(options, "words")]
    if strange := [word for word in left if word not in words]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    if words:
        options.words = [*options.words, *words]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description="From a data set to a served PyTorch model.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    work = _workplace()
    for stage in STAGES:
        command = commands.add_parser(stage.name, help=stage.summary, description=f"{stage.name}: {stage.summary}.")
        add_config(command)
        if stage.takes:
            add_run(command)
        command.set_defaults(run_command=partial(run_stage, work=work))
        if stage.makes is not None and stage.makes.kind == "model":
            command.add_argument("--resume", action="store_true", help="go on with an interrupted training, bit for bit")
            command.add_argument("--force", action="store_true", help="resume even though config, data or code changed since")
    add_all(commands, work)
    add_bundle(commands, work)
    command = commands.add_parser("config", help="print the resolved config", description="Print the resolved config as YAML.")
    add_config(command)
    command.add_argument("--schema", action="store_true", help="print the JSON Schema of a config file, for editors")
    command.add_argument("--defaults", action="store_true", help="print every key with its default and a comment")
    command.set_defaults(run_command=_show_config)
    for name, summary in (
        ("sanity", "check rows, model and loss before training, in seconds"),
        ("lr-find", "find a learning rate by a short range test, with a picture"),
    ):
        command = commands.add_parser(name, help=summary, description=f"{name}: {summary}.")
        add_config(command)
        command.set_defaults(run_command=_before_training)
    command = commands.add_parser("resume-check", help="prove on this config that a killed and resumed training loses nothing")
    add_config(command)
    command.add_argument("--kills", type=int, default=5, metavar="N", help="times to kill it (default: 5)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: 0)")
    command.set_defaults(run_command=_resume_check)
    command = commands.add_parser("sync", help="give the stores of mlflow.yaml what the journals have and they lack")
    command.add_argument("--run", help=argparse.SUPPRESS)
    command.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)  # how a running command feeds a store
    command.add_argument("--to", choices=("mlflow", "wandb"), default="mlflow", help=argparse.SUPPRESS)
    command.set_defaults(run_command=_sync)
    add_init(commands, say=_Output().line)
    command = commands.add_parser("mlflow", help="open the MLflow UI on the store of mlflow.yaml")
    command.set_defaults(run_command=_mlflow_ui)
    command = commands.add_parser("tensorboard", help="open TensorBoard on all runs")
    command.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    command.add_argument("--port", type=int, default=6006, help="port (default: 6006)")
    command.set_defaults(run_command=_tensorboard)
    return parser
