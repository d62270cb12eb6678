"""Weights & Biases: one wandb run for each of our runs, with config, curves, histograms and pictures; offline by default.

The only file that imports wandb, and only in a process of its own (`pipeline.tracking.follower`). A journal gives the same rows
each time it is read, so a row's number is its wandb step: what an online run has already is skipped, and an offline run is
written anew as a whole, since wandb cannot append to one. `wandb sync runs/<id>/wandb/offline-run-*` uploads it.
"""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.config import MlflowSettings
from pipeline.tracking.follower import store_lock
from pipeline.tracking.journal import follow_journal
from pipeline.tracking.records import HPARAM, Histogram, Record, read_stage_file

if TYPE_CHECKING:
    import wandb

_EPOCH, _STEP = "epoch", "step"  # the horizontal axes: of an epoch's numbers, and of a series of steps
_NOT_IN_AN_ID = re.compile(r"[/\\#?%:\s]")  # what wandb forbids in the id of a run
_MOST_BUCKETS = 512  # of a wandb.Histogram
_DONE = Path("wandb", "journal-bytes")  # how much of the journal has been given away
_ENVIRONMENT = {
    # Nothing leaves the machine unless the user says so: no upload, no reports of errors.
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_INIT_TIMEOUT": "30",
}


def project(journal: Path, settings: MlflowSettings, finished: Callable[[], bool] | None = None) -> int:
    """Give this journal to Weights & Biases; return the number of rows that were new to it.

    finished: follow the journal until this is true; without it, take what is there, unless a running command follows it.
    Raises whatever wandb raises, such as for a key that is missing online.
    """
    with store_lock(journal, "wandb", wait=finished is not None) as ours:
        if not ours:
            return 0
        done = journal.parent / _DONE
        if finished is None and done.is_file() and int(done.read_text()) == journal.stat().st_size:
            return 0
        before = sorted((journal.parent / "wandb").glob("offline-run-*"))
        run = _open(journal.parent, settings)
        rows = _Rows(run, journal.parent)
        size = 0
        try:
            for records in follow_journal(journal, 0, finished or (lambda: True)):
                for record in records:
                    rows.take(record)
                size = journal.stat().st_size
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish(exit_code=int(rows.failed))
        done.write_text(str(size))
        for folder in before:
            if run.offline and folder != Path(run.dir).parent:  # the new one has everything that this one has
                shutil.rmtree(folder)
        return rows.new


class _Rows:
    """Turns records into rows, and gives those to a run that it does not have."""

    def __init__(self, run: "wandb.Run", folder: Path) -> None:
        self.new, self.failed = 0, False
        self._run, self._folder = run, folder
        self._first, self._number = run.step, 0  # rows before `_first` are there from an earlier process
        self._series: set[str] = set()

    def take(self, record: Record) -> None:
        """Give what wandb shows of a record: PR curves, graphs, texts and embeddings are for TensorBoard, files for MLflow."""
        if record.kind in {"params", "hparams"}:
            params = record.values if record.kind == "params" else record.values["params"]
            config: Any = self._run.config  # untyped
            config.update(params, allow_val_change=True)
        if record.kind == "hparams":
            self._run.summary.update({HPARAM + name: value for name, value in record.values["metrics"].items()})
        elif record.kind == "metrics" and record.step is None:
            self._run.summary.update(_finite(record.values))
        elif record.kind == "event" and str(record.values["name"]) in {"stage_finished", "stage_failed", "stage_interrupted"}:
            self.failed = record.values["name"] != "stage_finished"
        for row in self._rows(record):
            if self._number >= self._first:
                self._run.log(row, step=self._number)
                self.new += 1
            self._number += 1

    def _rows(self, record: Record) -> Iterator[dict[str, Any]]:
        """Yield the same rows for the same journal each time; a picture that is gone leaves an empty row."""
        if record.kind == "metrics" and record.step is not None:
            yield {_EPOCH: record.step, **_finite(record.values)}
        elif record.kind == "series":
            for name, (steps, values) in record.values.items():
                self._define(name)
                yield from ({_STEP: step, **_finite({name: value})} for step, value in zip(steps, values, strict=True))
        elif record.kind == "histograms":
            yield {_EPOCH: record.step, **{tag: _histogram(fields) for tag, fields in record.values.items()}}
        elif record.kind == "images":
            found = {tag: read_stage_file(self._folder, record.stage, name) for tag, name in record.values.items()}
            yield {_EPOCH: record.step, **_pictures(found)}
        elif record.kind == "files":
            plots = sorted(Path(record.values["folder"]).glob("plots/*.png"))
            yield _pictures({f"{record.stage}/{path.stem}": path.read_bytes() for path in plots})

    def _define(self, name: str) -> None:
        if name not in self._series:
            self._series.add(name)
            self._run.define_metric(name, step_metric=_STEP)


def _open(folder: Path, settings: MlflowSettings) -> "wandb.Run":
    """Return the wandb run of this folder, made or resumed."""
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    import wandb

    quiet = wandb.Settings(
        console="off", silent=True, disable_git=True, x_disable_stats=True, x_disable_meta=True, x_save_requirements=False
    )
    name = folder.resolve().name
    run = wandb.init(
        project=settings.wandb_project,
        id=_NOT_IN_AN_ID.sub("-", name),
        name=name,
        dir=folder,
        resume="allow" if os.environ["WANDB_MODE"] == "online" else None,
        reinit="create_new",
        settings=quiet,
    )
    run.define_metric(_EPOCH, hidden=True)
    run.define_metric(_STEP, hidden=True)
    run.define_metric("*", step_metric=_EPOCH)
    return run


def _finite(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _pictures(files: dict[str, bytes | None]) -> dict[str, Any]:
    import wandb
    from PIL import Image

    return {tag: wandb.Image(Image.open(io.BytesIO(payload))) for tag, payload in files.items() if payload is not None}


def _histogram(fields: dict[str, Any]) -> "wandb.Histogram":
    """Return a wandb histogram, whose edges are one more than its counts; neighbors are joined until it is small enough."""
    import numpy as np
    import wandb

    of = msgspec.convert(fields, Histogram)
    edges, counts = [min(of.minimum, of.edges[0]), *of.edges], list(of.counts)
    while len(counts) > _MOST_BUCKETS:
        counts = [sum(counts[n : n + 2]) for n in range(0, len(counts), 2)]
        edges = [*edges[0:-1:2], edges[-1]]
    return wandb.Histogram(np_histogram=(np.array(counts), np.array(edges)))
