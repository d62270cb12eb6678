"""Which run a command works on.

`train` works on the run whose training would be the same: same configuration, same code. A later stage with `--run latest`
works on the newest run made from the same config file that agrees with every key on the command line, so that

    make train SET="train.epochs=5"
    make export

exports what was just trained. With an id, that run is used as it is, whatever the file says today.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.artifacts import Model
from pipeline.code import code_digest
from pipeline.config import Config, flatten, load
from pipeline.config.sections import CustomConfig
from pipeline.errors import ConfigError, UserError
from pipeline.manifest import MANIFEST
from pipeline.runs import LATEST, Request, Run, all_runs, named_run, new_run
from pipeline.stages import Stage, chain, stage_making
from serving.files import record_of, sha256_of

Words = Mapping[str, str]
_TRAINING = chain(stage_making(Model))


@dataclass(frozen=True)
class Choice:
    """A run, the config to work with, and whether the user named the run: then its training is never made anew."""

    run: Run
    config: Config
    pinned: bool


def choose(stage: Stage, file: Path | None, words: Sequence[str], run_name: str, *, root: Path) -> Choice:
    """Return the run for a stage, made when there is none; raise UserError when the request contradicts the run."""
    asked = dict(word.partition("=")[::2] for word in words)
    if run_name != LATEST:
        return _named(stage, asked, words, run_name, root)
    config = load(file, words)
    for run in all_runs(root):
        request = run.request
        kept = _kept_words(stage, request.words) | asked
        try:
            candidate = load(file, _as_words(kept))
        except ConfigError:  # what that run was asked for does not fit this file
            continue
        if training_identity(candidate) == request.identity and (run.folder / stage_making(Model).name / MANIFEST).is_file():
            _remember(run, request, stage, asked, candidate)
            return Choice(run, candidate, pinned=False)
    request = Request(str(file), training_identity(config), config.model_dump(mode="json", by_alias=True), asked)
    return Choice(new_run(root, request), config, pinned=False)


def training_identity(config: Config) -> str:
    """Return a digest of everything that training depends on: config, our code, and the user's model file."""
    sections = {name: config.section(name) for stage in _TRAINING for name in stage.sections}
    code = [code_digest(stage.code) for stage in _TRAINING]
    return sha256_of(msgspec.json.encode([sections, code, list(external_files(config).values())], order="sorted"))


def external_files(config: Config) -> dict[str, str]:
    """Return the digest of each file outside the repository that training reads, by the key that names it."""
    return {"model.file": record_of(Path(config.model.file)).sha256} if isinstance(config.model, CustomConfig) else {}


def _named(stage: Stage, asked: Words, words: Sequence[str], name: str, root: Path) -> Choice:
    run = named_run(root, name)
    request = run.request
    config = load(run.folder / "config.yaml", words)
    recorded, now = flatten(request.config), flatten(config.model_dump(mode="json", by_alias=True))
    faults = [
        f"command line: {key}: run {run.id} was made with {recorded.get(key)}, not {now[key]}; leave out --run to make another"
        for key in now
        if key.partition(".")[0] in _upstream(stage) and recorded.get(key) != now[key]
    ]
    if faults:
        raise ConfigError(*faults)
    if not (run.folder / stage_making(Model).name / MANIFEST).is_file():
        raise UserError(f"{run.folder}: this run has no complete training; start another with `make train`")
    _remember(run, request, stage, asked, config)
    return Choice(run, config, pinned=True)


def _remember(run: Run, request: Request, stage: Stage, asked: Words, config: Config) -> None:
    """Write down what this command adds to the run's request."""
    words = {key: text for key, text in request.words.items() if key.partition(".")[0] not in stage.sections} | dict(asked)
    mine = {name: config.section(name) for name in _upstream(stage) | set(stage.sections)}
    updated = msgspec.structs.replace(request, words=words, config=request.config | mine)
    if updated != request:
        run.write_request(updated)


def _kept_words(stage: Stage, words: Words) -> dict[str, str]:
    """Return the words of an earlier command that a later stage takes as given: those about the stages before it."""
    if stage in _TRAINING:
        return {}
    settled = _upstream(stage)
    return {key: text for key, text in words.items() if key.partition(".")[0] in settled}


def _upstream(stage: Stage) -> set[str]:
    return {name for before in chain(stage)[:-1] for name in before.sections} - set(
        stage.sections if stage in _TRAINING else ()
    )


def _as_words(words: Words) -> list[str]:
    return [f"{key}={text}" for key, text in words.items()]
