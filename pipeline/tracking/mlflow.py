"""MLflow: one MLflow run for each of our runs, with params, metrics, files and a tag for each finished stage.

The only file that imports mlflow, and only in a process of its own: `MlflowProcess` starts `python -m pipeline sync --follow`,
which reads the journal while the work goes on. Its import, a store's first migrations or a dead server cost the work nothing,
and what it could not store, `python -m pipeline sync` stores later: the MLflow run remembers how many lines it has.
"""

import fcntl
import logging
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from pipeline.config import MlflowSettings
from pipeline.tracking.journal import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG, LINES_TAG = "slipway.run", "slipway.journal_lines"
_LEFT_OUT_SUFFIX, _LEFT_OUT_FOLDER = ".npy", "tensorboard"  # rows may be large; the UI cannot show event files
_NOT_IN_A_NAME = re.compile(r"[^\w.\- /:]")  # what MLflow forbids in the name of a parameter
_MOST_AT_ONCE = 1000  # metrics in one call, MLflow's own limit
_PATIENCE_S = 60.0
_ENVIRONMENT = {
    # No usage data, no pickles, no minutes of waiting for a dead server.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class MlflowProcess:
    """A projection that lets another process read the journal; it needs no record itself."""

    name = "MLflow"

    def __init__(self, journal: Path) -> None:
        """Name the journal; the process starts with the first record."""
        self._journal = journal
        self._process: subprocess.Popen[bytes] | None = None

    def show(self, record: Record) -> None:  # noqa: ARG002  # the process reads the record from the journal
        """Start the process."""
        if self._process is None:
            command = [sys.executable, "-m", "pipeline", "sync", "--run", str(self._journal.parent), "--follow"]
            # A session of its own: Ctrl-C stops the work, and this process then stores what the work wrote last.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )

    def close(self) -> None:
        """Let the process store the rest; raise RuntimeError with its last line when it fails or takes too long."""
        if self._process is None:
            return
        try:
            _, errors = self._process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            self._process.communicate()
            raise RuntimeError(
                f"no answer from the store in {_PATIENCE_S:.0f} s; `python -m pipeline sync` tries again"
            ) from error
        if self._process.returncode:
            last = (errors.decode(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]
            raise RuntimeError(f"{last}; `python -m pipeline sync` tries again")


def stdin_closed() -> bool:
    """Wait up to half a second, and return whether the starting process has closed our standard input, or died."""
    ready, _, _ = select.select([sys.stdin], [], [], 0.5)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


def project(journal: Path, settings: MlflowSettings, finished: Callable[[], bool] = lambda: True) -> int:
    """Store what the MLflow run of this journal lacks, until `finished()`; return the number of journal lines stored."""
    _prepare_process()
    client, run_id, known = _open(settings, journal.parent.name)
    stored = 0
    with journal.open("rb") as file:
        position = _skip(file, known)
        while True:
            last = finished()
            lines = _complete_lines(file)
            if lines:
                records = [msgspec.json.decode(line, type=Record) for line in lines]
                _store(client, run_id, records)
                position += len(lines)
                stored += len(lines)
                client.set_tag(run_id, LINES_TAG, str(position))
            if last and not lines:
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


@contextmanager
def _alone(settings: MlflowSettings) -> Iterator[None]:
    """Keep two first uses of a new SQLite store apart: both would run its migrations, and one would fail."""
    uri = str(settings.tracking_uri)
    if not uri.startswith("sqlite:///"):
        yield
        return
    with Path(uri.removeprefix("sqlite:///") + ".lock").open("a") as lock:
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


def _store(client: "MlflowClient", run_id: str, records: Sequence[Record]) -> None:
    from mlflow.entities import Metric, Param

    metrics = [
        Metric(name, value, int(datetime.fromisoformat(record.time).timestamp() * 1000), record.step or 0)
        for record in records
        if record.kind == "metrics"
        for name, value in record.values.items()
        if value is not None
    ]
    for start in range(0, len(metrics), _MOST_AT_ONCE):
        client.log_batch(run_id, metrics=metrics[start : start + _MOST_AT_ONCE])
    for record in records:
        if record.kind == "params":
            # A param cannot change in MLflow; a stage that is run again with other values leaves its mark in the journal.
            known = client.get_run(run_id).data.params
            named = {_NOT_IN_A_NAME.sub("_", name): value for name, value in record.values.items()}
            params = [Param(name, str(value)) for name, value in named.items() if name not in known]
            client.log_batch(run_id, params=params)
        elif record.kind == "files":
            _store_folder(client, run_id, Path(record.values["folder"]), record.stage)
            client.set_tag(run_id, "stage", record.stage)
            client.set_tag(run_id, f"stage.{record.stage}", "done")
        elif record.kind == "event":
            _store_status(client, run_id, record)


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


def _skip(file: IO[bytes], lines: int) -> int:
    for _ in range(lines):
        file.readline()
    return lines


def _complete_lines(file: IO[bytes]) -> list[bytes]:
    """Return the lines that are there, leaving one that is still being written for the next time."""
    lines: list[bytes] = []
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return lines
        lines.append(line)
