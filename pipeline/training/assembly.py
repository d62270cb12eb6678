"""From a config and prepared rows to everything that `fit` takes: the one place where the parts of training meet."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.artifacts import Prepared
from pipeline.config import Config
from pipeline.config.train_sections import TrainConfig
from pipeline.models.deployable import Deployable, preprocessed_shape, preprocessing
from pipeline.models.registry import Architecture, build
from pipeline.training import tuning
from pipeline.training.begin import begin
from pipeline.training.initialization import initialize
from pipeline.training.objective import Objective, objective_for
from pipeline.training.randomness import kept_rng
from pipeline.training.rows import Rows, fit_into_memory, open_rows
from pipeline.training.setup import autocast_type, choose_device, make_reproducible, wants_channels_last
from pipeline.training.state import FitState
from pipeline.training.step import StepOptions
from pipeline.training.try_out import fitting_sizes, try_out
from serving.schema import Schema


@dataclass(frozen=True)
class Assembly:
    """A training that has not begun. `choices` is what `auto` became, and why."""

    schema: Schema
    architecture: Architecture
    deployable: Deployable
    rows: Rows
    objective: Objective
    state: FitState
    options: StepOptions
    choices: dict[str, Any]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.state.flat.weights.device


def assemble(
    config: Config,
    prepared: Prepared,
    *,
    source: bytes | None = None,
    choices: dict[str, Any] | None = None,
    given: tuple[Architecture, nn.Module] | None = None,
) -> Assembly:
    """Build everything that training needs, seeded, on its device.

    source: text of a custom model's file. choices: what `auto` chose for a training that is resumed. Raises UserError for
    settings that do not fit the rows or the machine, and for a user's model that cannot take a step. given: a network that is
    to be trained on, and how it is built; None: `model` names it, and it is initialized.
    """
    section, schema = config.train, prepared.schema
    device = choose_device(section.device)
    make_reproducible(config.seed)
    statistics = prepared.statistics
    architecture, net = given or _initialized(config, schema, statistics, source)
    last = wants_channels_last(section.channels_last, net)
    net = net.to(device)
    if last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    deployable = Deployable(net, task=schema.task, statistics=statistics, features=schema.features).to(device)
    made = dict(choices or {})
    size = made.get("batch_size") or tuning.batch_size_for(section.batch_size, prepared.manifest.notes["rows"]["train"])
    in_memory = made.setdefault("in_memory", fit_into_memory(config, prepared))
    rows = open_rows(config, prepared, deployable, size, device, in_memory=in_memory)
    objective = objective_for(schema, deployable, section.loss, class_counts=rows.class_counts, top_k=config.monitor.top_k)
    autocast = autocast_type(section.precision, device)
    made |= {"channels_last": last, "autocast": str(autocast) if autocast else "float32"}
    trial = _Trial(net, objective, rows, autocast, architecture, config.train.early_stopping.monitor)
    with kept_rng():
        made |= _sizes(trial, section, size, made)
        if made["batch_size"] != size:
            rows = open_rows(config, prepared, deployable, made["batch_size"], device, in_memory=in_memory)
        made |= _measured(config, prepared, architecture, source, trial, made)
    torch.set_num_threads(made["threads"]["threads"])

    state = begin(net, section, parts=made["accumulate"], autocast=autocast, compiled=made["compile"]["compile"])
    halve = section.accumulate == "auto"
    options = StepOptions(clip_norm=section.clip_norm, clip_value=section.clip_value, autocast=autocast, halve=halve)
    return Assembly(schema, architecture, deployable, rows, objective, state, options, made)


def _initialized(
    config: Config, schema: Schema, statistics: dict[str, Any], source: bytes | None
) -> tuple[Architecture, nn.Module]:
    """Return the network that `model` names, as it begins, and how it is built."""
    architecture = architecture_of(config, schema, statistics)
    net = build(architecture, source=source)
    initialize(net, config.train.init)
    return architecture, net


def architecture_of(config: Config, schema: Schema, statistics: dict[str, Any]) -> Architecture:
    """Return the network that `model` names, for rows of this schema as these statistics preprocess them."""
    arguments = config.section("model")
    arguments.pop("file", None)  # its content is in the run
    normalize = preprocessing(statistics["inputs"])
    shape = preprocessed_shape(normalize, schema.shape)
    return Architecture(arguments.pop("name"), shape, schema.outputs, arguments, normalize.embeddings)


@dataclass(frozen=True)
class _Trial:
    """A step on a copy of the network, to find what would break, or take too long, only later."""

    net: nn.Module
    objective: Objective
    rows: Rows
    autocast: torch.dtype | None
    architecture: Architecture
    monitor: str

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the first rows, as training gets them."""
        inputs, targets = next(self.rows.train.in_order())
        return inputs.clone(), targets  # a network that writes into its rows must not change those of training

    def run(self, size: int, parts: int) -> None:
        """Take one step of `size` rows in `parts`."""
        inputs, targets = self.batch()
        part = -(-min(size, len(inputs)) // parts)
        try_out(self.net, (inputs[:part], targets[:part]), self.objective, self.architecture, self.monitor, self.autocast)

    def step(self, parts: int, *, compiled: bool = False) -> Callable[[], object]:
        """Return a step to be timed, compiled when it is first called."""
        inputs, targets = self.batch()
        part = -(-len(inputs) // parts)
        inputs, targets = inputs[:part], targets[:part]
        net = copy.deepcopy(self.net).train()

        @cache
        def forward() -> Callable[[Tensor], Tensor]:
            return torch.compile(net, dynamic=False) if compiled else net  # the compiler's import takes seconds

        def step() -> None:
            with torch.autocast(inputs.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                outputs = forward()(inputs)
            self.objective.loss(outputs.float(), targets).backward()

        return step


def _sizes(trial: _Trial, section: TrainConfig, size: int, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of a step, and its parts, that memory suffices for; those of a resumed training are only tried out."""
    if "batch_size" in chosen:
        trial.run(chosen["batch_size"], chosen["accumulate"])
        return {}
    return fitting_sizes(trial.run, size, batch_size=section.batch_size, accumulate=section.accumulate)


def _measured(
    config: Config, prepared: Prepared, architecture: Architecture, source: bytes | None, trial: _Trial, made: dict[str, Any]
) -> dict[str, Any]:
    """Return the number of threads and whether to compile: given, chosen before a resume, remembered, or measured now."""
    section, found = config.train, dict(made)
    subject = {"model": config.section("model"), "shape": architecture.input_shape, "source": tuning.digest(source)} | made
    folder: Path = prepared.folder.parent.parent / "tuning"
    on_cpu = next(trial.net.parameters()).device.type == "cpu"
    parts = made["accumulate"]
    plain = trial.step(parts)
    if "threads" not in found:
        if section.threads != "auto":
            found["threads"] = {"threads": section.threads, "why": "as configured"}
        elif not on_cpu:
            found["threads"] = {"threads": torch.get_num_threads(), "why": "the device computes; torch's own choice"}
        else:
            found["threads"] = tuning.remembered(folder, {"threads": subject}, lambda: tuning.choose_threads(plain))
    if "compile" not in found:
        torch.set_num_threads(found["threads"]["threads"])
        if section.compile == "auto":
            wanted = {"compile": subject, "epochs": section.epochs}
            found["compile"] = tuning.remembered(
                folder,
                wanted,
                lambda: tuning.worth_compiling(
                    plain, trial.step(parts, compiled=True), steps=section.epochs * len(trial.rows.train) * parts
                ),
            )
        else:
            found["compile"] = {"compile": section.compile, "why": "as configured"}
            if section.compile:
                tuning.check_compiles(trial.step(parts, compiled=True))
    return found
