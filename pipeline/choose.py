"""Which run a command works on.

`train` works on the run whose training would be the same: same configuration, same code. A later stage with `--run latest`
works on a run made from the same configuration that agrees with every key on the command line: the one last worked on, else the
newest, so that

    make train SET="train.epochs=5"
    make export

exports what was just trained. With an id, that run is used as it is, whatever the file says today.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.artifacts import Benchmarked, Distilled, Model, Pruned, Quantized, Selected
from pipeline.code import code_digest
from pipeline.compression.foreseen import check_distill, check_prune
from pipeline.config import Config, flatten, load
from pipeline.config.model_sections import CustomConfig
from pipeline.cores import usable_cores
from pipeline.errors import ConfigError, SlipwayError, UserError
from pipeline.manifest import MANIFEST
from pipeline.measuring.providers import check_providers
from pipeline.outside import ABSENT, data_files, model_files
from pipeline.quantization.foreseen import check_quantize
from pipeline.runs import LATEST, Request, Run, all_runs, named_run, new_run, partial_of
from pipeline.stages import Resume, Stage, chain, has_use, stage_making
from serving.files import sha256_of

Words = Mapping[str, str]
Warn = Callable[[str], None]
_TRAINING = chain(stage_making(Model))
_MEASURED = (Benchmarked, Selected)
_SETTLED = {name for stage in _TRAINING for name in stage.sections}  # what a run is, once it is trained


@dataclass(frozen=True)
class Choice:
    """A run and the config to work with.

    pinned: the user named the run, so its data and training are never made anew. request: what the run is asked for now, to be
    written down once the command has succeeded. resume: its training is to go on where it stopped.
    """

    run: Run
    config: Config
    pinned: bool
    request: Request
    resume: Resume | None = None


def choose(
    stage: Stage,
    file: Path | None,
    words: Sequence[str],
    run_name: str,
    *,
    root: Path,
    warn: Warn,
    allow: Callable[[SlipwayError, Config, str], bool] = lambda *_: False,
) -> Choice:
    """Return the run for a stage, made when there is none; raise UserError when the request contradicts the run.

    allow: whether what a stage, given by its name, is foreseen to refuse is no reason to stop.
    """
    choice = find(stage, file, words, run_name, root=root, warn=warn)
    if choice is not None:
        _check_measuring(stage, choice.config)
        return choice
    config = load(file, words)
    _check_measuring(stage, config)
    if isinstance(config.model, CustomConfig) and model_files(config)["model.file"] == ABSENT:
        raise UserError(f"model.file: there is no file {config.model.file!r}; paths are relative to the folder of the command")
    _check_foreseen(stage, config, root, allow)
    asked = _asked(words)
    request = Request(training_identity(config), config.model_dump(mode="json", by_alias=True), asked)
    return Choice(new_run(root, request), config, pinned=False, request=request)


def find(stage: Stage, file: Path | None, words: Sequence[str], run_name: str, *, root: Path, warn: Warn) -> Choice | None:
    """Return the run for a stage as `choose` does, but None when there is none."""
    asked = _asked(words)
    if run_name != LATEST:
        return _named(stage, asked, words, run_name, root)
    load(file, words)  # its faults are told, whatever runs there are
    for run in all_runs(root, warn):
        request = run.request
        kept = _kept_words(stage, request.words) | asked
        try:
            candidate = load(file, _as_words(kept))
        except ConfigError:  # what that run was asked for does not fit this file
            continue
        if training_identity(candidate) == request.identity and (_training_folder(run) / MANIFEST).is_file():
            return Choice(run, candidate, pinned=False, request=_continued(request, stage, asked, candidate))
    return None


def choose_interrupted(
    file: Path | None, words: Sequence[str], run_name: str, *, force: bool, root: Path, warn: Warn
) -> Choice:
    """Return the run whose training is to go on: the named one, or the newest interrupted one of this config's name."""
    if run_name != LATEST:
        run = named_run(root, run_name)
        config = load(file or run.folder / "config.yaml", words)
    else:
        config = load(file, words)
        runs = [run for run in all_runs(root, warn) if run.request.config["name"] == config.name and _is_interrupted(run)]
        if not runs:
            raise UserError(f"train --resume: no interrupted run of {config.name!r} below {root}/; start one without --resume")
        run = max(runs, key=lambda run: run.id)
    if not _is_interrupted(run):
        raise UserError(f"train --resume: run {run.id} is complete, or never began to train; start one without --resume")
    request, identity = run.request, training_identity(config)
    if identity != request.identity:
        if not force:
            raise UserError(f"train --resume: {_first_difference(request, config)}; set it back, or accept it with --force")
        asked = _asked(words)
        request = Request(identity, config.model_dump(mode="json", by_alias=True), asked)
    return Choice(run, config, pinned=False, request=request, resume=Resume(force=force))


def _check_foreseen(stage: Stage, config: Config, root: Path, allow: Callable[[SlipwayError, Config, str], bool]) -> None:
    """Refuse, before a model is trained for it, what this stage or one before it would refuse afterward."""
    try:
        match stage.makes:
            case kind if kind is Pruned:
                check_prune(config)
            case kind if kind is Distilled:
                check_distill(config, root)
            case kind if kind is Quantized:
                check_quantize(config)
    except SlipwayError as error:
        if not allow(error, config, stage.name):
            raise
    for kind in stage.takes:
        if has_use(kind, config):
            _check_foreseen(stage_making(kind), config, root, allow)


def _check_measuring(stage: Stage, config: Config) -> None:
    """Refuse, before anything is trained for it, a measurement with more threads than cores, or on what is not here."""
    threads, cores = config.benchmark.threads, usable_cores()
    if not (stage.makes in _MEASURED or (Selected in stage.takes and has_use(Selected, config))):
        return
    if threads > cores:
        raise ConfigError(
            f"benchmark.threads: {threads}, but this process may use {cores} core{'s' * (cores > 1)}: threads would wait for "
            f"each other, and times mean nothing; set {cores} or less"
        )
    check_providers(config)


def _first_difference(request: Request, config: Config) -> str:
    before, now = flatten(request.config), flatten(config.model_dump(mode="json", by_alias=True))
    for key in {**before, **now}:
        if key.partition(".")[0] in _SETTLED and before.get(key) != now.get(key):
            return f"{key} was {before.get(key)} in the interrupted run and is {now.get(key)} now"
    return "the code, or the file of a custom model, has changed since the run was interrupted"


def _is_interrupted(run: Run) -> bool:
    return partial_of(_training_folder(run)).is_dir() and not _training_folder(run).exists()


def _training_folder(run: Run) -> Path:
    return run.folder / stage_making(Model).name


def training_identity(config: Config) -> str:
    """Return a digest of everything that training depends on: config, our code, and the user's files."""
    sections = {name: config.section(name) for stage in _TRAINING for name in stage.sections}
    code = [code_digest(stage.code) for stage in _TRAINING]
    return sha256_of(
        msgspec.json.encode([sections, code, list((data_files(config) | model_files(config)).values())], order="sorted")
    )


def _named(stage: Stage, asked: Words, words: Sequence[str], name: str, root: Path) -> Choice:
    run = named_run(root, name)
    request = run.request
    config = load(run.folder / "config.yaml", words)
    recorded, now = flatten(request.config), flatten(config.model_dump(mode="json", by_alias=True))
    faults = [
        f"command line: {key}: run {run.id} was made with {recorded.get(key)}, not {now[key]}; leave out --run to make another"
        for key in now
        if key.partition(".")[0] in _SETTLED | _upstream(stage) and recorded.get(key) != now[key]
    ]
    if faults:
        raise ConfigError(*faults)
    if not (_training_folder(run) / MANIFEST).is_file():
        raise UserError(f"{run.folder}: this run has no complete training; start another with `make train`")
    return Choice(run, config, pinned=True, request=_continued(request, stage, asked, config))


def _continued(request: Request, stage: Stage, asked: Words, config: Config) -> Request:
    """Return a run's request with what this command adds to it."""
    own = _SETTLED if stage in _TRAINING else set(stage.sections) - _upstream(stage)
    words = {key: text for key, text in request.words.items() if key.partition(".")[0] not in own} | dict(asked)
    mine = {name: config.section(name) for name in _upstream(stage) | set(stage.sections)}
    return msgspec.structs.replace(request, words=words, config=request.config | mine)


def _kept_words(stage: Stage, words: Words) -> dict[str, str]:
    """Return the words of an earlier command that a later stage takes as given: those about the stages before it."""
    if stage in _TRAINING:
        return {}
    settled = _upstream(stage)
    return {key: text for key, text in words.items() if key.partition(".")[0] in settled}


def _upstream(stage: Stage) -> set[str]:
    return {name for before in chain(stage)[:-1] for name in before.sections}


def _asked(words: Sequence[str]) -> dict[str, str]:
    """Return the keys that a command line sets, with their text."""
    return dict(word.partition("=")[::2] for word in words)


def _as_words(words: Words) -> list[str]:
    return [f"{key}={text}" for key, text in words.items()]
