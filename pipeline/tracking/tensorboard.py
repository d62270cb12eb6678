"""TensorBoard: a stage's records in an event file below the stage's folder; the only file that imports tensorboard.

Events are written at once and without a thread: a full disk is then an exception of the call that met it, and a killed training
leaves everything that it recorded.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from pipeline.tracking.records import HPARAM, Histogram, PrCurve, Record

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

_NOT_SHOWN = {"params", "event", "files"}


class TensorBoard:
    """Writes events below `folder`, which is made by the first record that TensorBoard can show."""

    name = "TensorBoard"

    def __init__(self, folder: Path, before: Sequence[Record] = ()) -> None:
        """Name the folder; nothing is imported or written yet.

        folder: stands in the stage's folder, to which the paths in records are relative. before: records of the same stage
        before an interruption; the folder is then made anew from them, since its own files may lag behind.
        """
        self._folder, self._before = folder, before
        self._file: _EventFile | None = None
        self._projector = _Projector(folder)

    def show(self, record: Record) -> None:
        """Write a record's events."""
        if self._before:
            shutil.rmtree(self._folder, ignore_errors=True)
            before, self._before = self._before, ()
            for earlier in before:
                self.show(earlier)
        if record.kind in _NOT_SHOWN or (record.kind == "metrics" and record.step is None):
            return  # a curve needs steps; other numbers are in MLflow and on disk
        try:
            if self._file is None:
                self._file = _EventFile(self._folder)
            if record.kind == "embedding":
                self._projector.add(self._folder.parent / record.values["path"], record.values, record.step or 0)
            for step, event in _events(record, self._folder.parent):
                self._file.write(event, step, record.time)
            self._file.flush()
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Close the event file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class _EventFile:
    """An event file in a folder, which is made."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        now = time.time()
        # TensorBoard reads the event files of a folder in the order of their names.
        self._file: IO[bytes] = (folder / f"events.out.tfevents.{int(now)}.{number}").open("wb")
        self._records = RecordWriter(self._file)
        self._records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())

    def write(self, event: "Event", step: int | None, moment: str) -> None:
        event.wall_time = datetime.fromisoformat(moment).timestamp()
        event.step = step or 0
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Projector:
    """The files that TensorBoard's projector reads beside the event file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[tuple[str, int], str] = {}

    def add(self, matrix: Path, values: dict[str, Any], step: int) -> None:
        """Write points and labels as text, and list them; a matrix that is gone is left out."""
        import numpy as np

        if not matrix.is_file():
            return
        points = np.load(matrix, allow_pickle=False)  # (rows, dimensions)
        name = f"{values['tag'].replace('/', '-')}-{step:05}"
        rows = "".join("\t".join(f"{value:.6g}" for value in row) + "\n" for row in points)
        labels = "".join(f"{label}\n" for label in values["labels"])
        (self._folder / f"{name}.points.tsv").write_text(rows, encoding="utf-8")
        (self._folder / f"{name}.labels.tsv").write_text(labels, encoding="utf-8")
        self._entries[values["tag"], step] = _projector_entry(f"{values['tag']} at epoch {step}", name)
        config = self._folder / "projector_config.pbtxt"
        config.write_text("".join(self._entries.values()), encoding="utf-8")


def _projector_entry(title: str, name: str) -> str:
    """Return an entry of `projector_config.pbtxt`; a JSON string is a string there, too."""
    fields = {"tensor_name": title, "tensor_path": f"{name}.points.tsv", "metadata_path": f"{name}.labels.tsv"}
    lines = "".join(f"  {key}: {msgspec.json.encode(value).decode()}\n" for key, value in fields.items())
    return f"embeddings {{\n{lines}}}\n"


def _events(record: Record, folder: Path) -> Iterator[tuple[int | None, "Event"]]:
    """Yield (step, event) for everything that TensorBoard shows of a record; `folder` is the stage's."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    if record.kind in _BY_TAG:  # one event for all of them, not one each
        values = [one for tag, value in record.values.items() for one in _BY_TAG[record.kind](tag, value).value]
        yield record.step, Event(summary=Summary(value=values))
    elif record.kind == "series":
        at: dict[int, list[Any]] = {}
        for name, (steps, numbers) in record.values.items():
            for step, value in zip(steps, numbers, strict=True):
                at.setdefault(step, []).extend(_scalar(name, value).value)
        yield from ((step, Event(summary=Summary(value=values))) for step, values in sorted(at.items()))
    elif record.kind == "images":
        found = {tag: folder / path for tag, path in record.values.items() if (folder / path).is_file()}
        yield from ((record.step, Event(summary=_image(tag, path.read_bytes()))) for tag, path in found.items())
    elif record.kind == "graph" and (folder / record.values["path"]).is_file():
        yield None, Event(graph_def=(folder / record.values["path"]).read_bytes())
    elif record.kind == "hparams":
        summaries = _hparams(record.values["params"], record.values["metrics"])
        yield from ((None, Event(summary=summary)) for summary in summaries)


def _scalar(tag: str, value: float | None) -> Any:
    from torch.utils.tensorboard.summary import scalar

    return scalar(tag, _number(value))


def _text(tag: str, markdown: str) -> Any:
    from torch.utils.tensorboard.summary import text

    return text(tag, markdown)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value  # null is how the journal writes a number that is not finite


def _histogram(tag: str, fields: dict[str, Any]) -> Any:
    from torch.utils.tensorboard.summary import histogram_raw

    of = msgspec.convert(fields, Histogram)
    return histogram_raw(tag, of.minimum, of.maximum, of.count, of.total, of.total_of_squares, of.edges, of.counts)


def _pr_curve(tag: str, fields: dict[str, Any]) -> Any:
    from torch.utils.tensorboard.summary import pr_curve_raw

    of = msgspec.convert(fields, PrCurve)
    counts = (of.true_positives, of.false_positives, of.true_negatives, of.false_negatives)
    return pr_curve_raw(tag, *counts, of.precision, of.recall, num_thresholds=len(of.recall))


def _image(tag: str, png: bytes) -> Any:
    """Return a summary with the file's own bytes; size and channels stand in its header (PNG specification, 11.2.1)."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}[png[25]]  # color type → samples of a pixel
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _hparams(params: dict[str, Any], metrics: dict[str, float | None]) -> list[Any]:
    """Return the session's summaries, for the folder of its curves: torch's `add_hparams` makes another run of them."""
    from torch.utils.tensorboard.summary import hparams

    settings = {name: _setting(value) for name, value in params.items()}
    numbers = {HPARAM + name: value for name, value in metrics.items()}
    return [*hparams(settings, numbers), *(_scalar(name, value) for name, value in numbers.items())]


def _setting(value: Any) -> str | float:
    """Return a setting as TensorBoard takes it; torch writes true as 1, so that it is written as a word here."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return msgspec.json.encode(value).decode()


_BY_TAG: dict[str, Callable[[str, Any], Any]] = {
    "metrics": _scalar,
    "histograms": _histogram,
    "pr_curves": _pr_curve,
    "text": _text,
}
