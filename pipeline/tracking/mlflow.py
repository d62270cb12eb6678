"""MLflow: one MLflow run for each of our runs, with params, metrics, images, files and a tag for each finished stage.

The only file that imports mlflow, and only in a process of its own (`pipeline.tracking.follower`). The MLflow run remembers how
many lines of the journal it has, so the memory is gone when the store is, and the next attempt begins with the first line.
"""

import fcntl
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import MlflowSettings
from pipeline.tracking.follower import store_lock
from pipeline.tracking.journal import follow_journal
from pipeline.tracking.records import HPARAM, Record, read_stage_file

if TYPE_CHECKING:
    from mlflow import MlflowClient


RUN_TAG, LINES_TAG = "slipway.run", "slipway.journal_lines"
_LEFT_OUT_SUFFIX, _LEFT_OUT_FOLDER = ".npy", "tensorboard"  # rows may be large; the UI cannot show event files
_NOT_IN_A_NAME = re.compile(r"[^\w.\- /:]")  # what MLflow forbids in the name of a parameter
_NOT_IN_A_KEY = re.compile(r"[^a-zA-Z0-9_\-./ ]")  # of an image
_MOST_AT_ONCE = 1000  # metrics in one call, MLflow's own limit
_ENVIRONMENT = {
    # No usage data, no pickles, no minutes of waiting for a dead server.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def project(journal: Path, settings: MlflowSettings, finished: Callable[[], bool] | None = None) -> int:
    """Store what the MLflow run of this journal lacks; return the number of journal lines stored.

    finished: follow the journal until this is true; without it, take what is there, unless a running command follows it.
    Raises RuntimeError when the store was deleted meanwhile, and whatever MLflow raises.
    """
    _prepare_process()
    with store_lock(journal, "mlflow", wait=finished is not None) as ours:
        if not ours:
            return 0
        client, run_id, known = _open(settings, journal.parent.name)
        store, stored, images = _identity(settings), 0, _Images(client, run_id, journal.parent)
        for records in follow_journal(journal, known, finished or (lambda: True)):
            _store(client, run_id, records, images)
            stored += len(records)
            client.set_tag(run_id, LINES_TAG, str(known + stored))
            # An open SQLite file takes everything after it was deleted, and nobody will ever read it.
            if _identity(settings) != store:
                raise RuntimeError(f"{settings.tracking_uri} was deleted or replaced while the work went on")
        return stored


def ui_command(settings: MlflowSettings) -> tuple[str, list[str], dict[str, str]]:
    """Return the page of our experiment, and the command and the environment that start the MLflow UI on its store."""
    _prepare_process()
    from mlflow import MlflowClient

    experiment = _experiment(MlflowClient(tracking_uri=settings.tracking_uri), settings)
    page = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", str(settings.tracking_uri)]
    command += ["--host", settings.ui.host, "--port", str(settings.ui.port)]
    return f"http://{settings.ui.host}:{settings.ui.port}/{page}", command, {**_ENVIRONMENT, **os.environ}


def _prepare_process() -> None:
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    for logger in ("alembic", "mlflow.store.db.utils"):  # they print every migration of a new store
        logging.getLogger(logger).setLevel(logging.WARNING)


def _open(settings: MlflowSettings, run_name: str) -> tuple["MlflowClient", str, int]:
    """Return a client, the id of our run in MLflow, made when there is none, and how many journal lines it has."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri=settings.tracking_uri)
    with _alone(settings):
        experiment_id = _experiment(client, settings)
    # A create call that is retried makes a second run; our own name, searched first, finds the one that is there.
    found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run_name}'", run_view_type=ViewType.ALL, max_results=1)
    if found:
        return client, found[0].info.run_id, int(found[0].data.tags.get(LINES_TAG, "0"))
    return client, client.create_run(experiment_id, run_name=run_name, tags={RUN_TAG: run_name}).info.run_id, 0


def _identity(settings: MlflowSettings) -> tuple[int, int] | None:
    """Return what tells a SQLite file from another one of the same name; None when it is gone, or no file at all."""
    database = _database(settings)
    if database is None or not database.exists():
        return None
    status = database.stat()
    return status.st_dev, status.st_ino


def _database(settings: MlflowSettings) -> Path | None:
    uri = str(settings.tracking_uri)
    name, _, _ = uri.removeprefix("sqlite:///").partition("?")  # options of the driver may follow, such as a timeout
    return Path(name) if uri.startswith("sqlite:///") else None


@contextmanager
def _alone(settings: MlflowSettings) -> Iterator[None]:
    """Keep two first uses of a new SQLite store apart: both would run its migrations, and one would fail."""
    database = _database(settings)
    if database is None:
        yield
        return
    with database.with_name(f"{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client: "MlflowClient", settings: MlflowSettings) -> str:
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is not None:
        return str(experiment.experiment_id)
    location = settings.artifact_location
    if "://" not in location:
        location = Path(location).resolve().as_uri()
    # The kind makes the UI open on runs and their charts instead of on traces of language models.
    return client.create_experiment(settings.experiment, location, tags={"mlflow.experimentKind": "custom_model_development"})


def _store(client: "MlflowClient", run_id: str, records: Sequence[Record], images: "_Images") -> None:
    from mlflow.entities import Metric

    # A point has the time of its record: the store then knows one that it has already, if an attempt was cut off.
    points = [Metric(name, value, _time_ms(record), step) for record in records for name, value, step in _points(record)]
    for start in range(0, len(points), _MOST_AT_ONCE):
        client.log_batch(run_id, metrics=points[start : start + _MOST_AT_ONCE])
    for record in records:
        if record.kind == "params":
            _store_params(client, run_id, record.values)
        elif record.kind == "hparams":
            _store_params(client, run_id, record.values["params"])
        elif record.kind == "images":
            images.store(record)
        elif record.kind == "text":
            for tag, markdown in record.values.items():
                client.log_text(run_id, markdown, f"{record.stage}/{_NOT_IN_A_KEY.sub('_', tag)}.md")
        elif record.kind == "files":
            _store_folder(client, run_id, Path(record.values["folder"]), record.stage)
            client.set_tag(run_id, "stage", record.stage)
            client.set_tag(run_id, f"stage.{record.stage}", "done")
        elif record.kind == "event":
            _store_status(client, run_id, record)


def _points(record: Record) -> Iterator[tuple[str, float, int]]:
    """Yield (name, number, step) for every finite number that is a metric for MLflow."""
    found: list[tuple[str, float | None, int]] = []
    if record.kind == "metrics":
        found = [(name, value, record.step or 0) for name, value in record.values.items()]
    elif record.kind == "hparams":
        found = [(HPARAM + name, value, 0) for name, value in record.values["metrics"].items()]
    elif record.kind == "series":
        for name, (steps, values) in record.values.items():
            found += [(name, value, step) for step, value in zip(steps, values, strict=True)]
    yield from ((name, value, step) for name, value, step in found if value is not None)


def _time_ms(record: Record) -> int:
    return int(datetime.fromisoformat(record.time).timestamp() * 1000)


def _store_params(client: "MlflowClient", run_id: str, values: dict[str, Any]) -> None:
    """Store the params that are new: in MLflow a param cannot change; the journal and the manifest have later values."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    named = {_NOT_IN_A_NAME.sub("_", name): value for name, value in values.items()}
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in named.items() if name not in known])


class _Images:
    """Pictures in MLflow's own form, which the UI shows with a slider over steps."""

    def __init__(self, client: "MlflowClient", run_id: str, run: Path) -> None:
        self._client, self._run_id, self._run = client, run_id, run
        self._stored: list[str] | None = None  # names of files, read when the first picture comes

    def store(self, record: Record) -> None:
        """Store the pictures of a record that are still there, and that an attempt that was cut off has not stored."""
        import mlflow
        from PIL import Image

        if self._stored is None:
            self._stored = [file.path for file in self._client.list_artifacts(self._run_id, "images")]
        for tag, name in record.values.items():
            key, time_ms = _NOT_IN_A_KEY.sub("_", tag), _time_ms(record)
            begin = f"images/{key.replace('/', '~')}+step+{record.step or 0}+timestamp+{time_ms}+"  # as log_image names it
            if any(stored.startswith(begin) for stored in self._stored):
                continue
            payload = read_stage_file(self._run, record.stage, name)
            if payload is not None:
                image = mlflow.Image(Image.open(io.BytesIO(payload)))
                self._client.log_image(self._run_id, image, key=key, step=record.step, timestamp=time_ms)


def _store_status(client: "MlflowClient", run_id: str, record: Record) -> None:
    status = {"stage_started": "RUNNING", "stage_finished": "FINISHED", "stage_failed": "FAILED", "stage_interrupted": "KILLED"}
    name = str(record.values["name"])
    if name == "stage_started":
        client.update_run(run_id, status="RUNNING")
    elif name in status:
        client.set_terminated(run_id, status=status[name])


def _store_folder(client: "MlflowClient", run_id: str, folder: Path, stage: str) -> None:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.suffix != _LEFT_OUT_SUFFIX and name.parts[0] != _LEFT_OUT_FOLDER:
            client.log_artifact(run_id, str(path), Path(stage, name.parent).as_posix())
