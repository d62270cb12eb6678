"""From `monitor` in the config to the monitors of one training."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.monitor_sections import MonitorConfig
from pipeline.monitoring.activations import Activations
from pipeline.monitoring.classes import MOST_CLASSES, ClassCurves, PerClass, ValueCurves
from pipeline.monitoring.conclusion import Conclusion
from pipeline.monitoring.distributions import Histograms
from pipeline.monitoring.embedding import Embedding
from pipeline.monitoring.graph import Graph
from pipeline.monitoring.layers import Layers
from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.overhead import Monitors
from pipeline.monitoring.pictures import Album, AugmentedRows, Pictures
from pipeline.monitoring.steps import LearningRates, StepLosses
from pipeline.monitoring.table import LayerTable
from pipeline.tracking import Tracker
from pipeline.training.assembly import Assembly
from pipeline.training.state import FitState


def monitors_for(
    config: MonitorConfig,
    parts: Assembly,
    *,
    out: Path,
    tracker: Tracker,
    clock: Callable[[], float] = time.perf_counter,
) -> Monitors:
    """Return the monitors that `config` asks for and that the rows and the network of `parts` have a use for.

    out: the stage's folder, below which files are written. clock: seconds. Raises UserError for a layer that is not there.
    """
    steps = len(parts.rows.train)
    layers = None
    if config.layers:
        layers = Layers(parts.state.flat, tracker, every_steps=config.layers_every_steps, steps=steps)
    once = _once(config, parts, out, tracker)
    return Monitors(
        [*_numbers(config, parts, tracker, layers), *once, *_pictures(config, parts, out, tracker)],
        tracker,
        max_overhead=config.max_overhead,
        steps=steps,
        step_monitor=layers,
        clock=clock,
    )


def conclude(
    monitors: Monitors,
    state: FitState,
    *,
    out: Path,
    tracker: Tracker,
    metric: str,
    best_epoch: int,
    params: Mapping[str, Any],
    title: str,
) -> None:
    """Draw the curves of a finished training below `out`/plots, and record its settings beside the best epoch's numbers.

    metric: the one with a panel of its own in curves.png. params: every setting by key. A fault ends in one event.
    """
    layers = monitors.step_monitor if isinstance(monitors.step_monitor, Layers) else None
    conclusion = Conclusion(out, tracker, layers=layers, metric=metric, best_epoch=best_epoch, params=params, title=title)
    monitors.conclude(conclusion, state)


def _numbers(config: MonitorConfig, parts: Assembly, tracker: Tracker, layers: Layers | None) -> Iterator[Monitor]:
    """Yield what looks at each epoch, the cheapest and most asked for first: they are served in this order."""
    state, schema = parts.state, parts.schema
    yield LearningRates(tracker)
    if config.per_class and 0 < len(schema.classes) <= MOST_CLASSES:
        yield PerClass(schema.classes, parts.deployable, tracker)
    if layers is not None:
        yield layers
    if config.activations:
        yield Activations(state.net, parts.rows.validation, tracker)
    if config.step_losses:
        yield StepLosses(tracker, points=config.step_losses)
    if config.histograms_every is not None:
        yield Histograms(state.flat, tracker, every=config.histograms_every)


def _pictures(config: MonitorConfig, parts: Assembly, out: Path, tracker: Tracker) -> Iterator[Monitor]:
    """Yield what looks when there is time."""
    state, schema, album = parts.state, parts.schema, Album(out, tracker)
    if config.images_every is None:
        return
    if schema.classes:
        yield ClassCurves(schema, parts.deployable, album, tracker, every=config.images_every)
    else:
        yield ValueCurves(schema, parts.deployable, album, every=config.images_every)
    if schema.kind == "image":
        yield Pictures(
            state.net,
            parts.deployable,
            schema,
            parts.rows,
            album,
            every=config.images_every,
            image_rows=config.image_rows,
            feature_layers=config.feature_layers,
        )


def _once(config: MonitorConfig, parts: Assembly, out: Path, tracker: Tracker) -> Iterator[Monitor]:
    """Yield what looks at the start or at the end."""
    rows, schema = parts.rows, parts.schema
    yield LayerTable(rows.validation, tracker, out)
    if config.graph:
        yield Graph(rows.validation, tracker, out)
    if rows.augmentation is not None and schema.kind == "image":
        yield AugmentedRows(rows, schema, Album(out, tracker))
    if config.embedding:
        yield Embedding(rows.validation, schema, tracker, out)
