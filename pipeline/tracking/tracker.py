"""The tracker: what a stage reports to, without knowing who looks."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from pipeline.tracking.records import Histogram, Kind, PrCurve, Projection, Record

_PROGRESS_EVERY_S = 0.25
_TOLD_AGAIN = ("params", "event", "files")  # they say what happens now, also when the same happened before


class Tracker:
    """What a stage reports to. Without projections it is the null tracker."""

    def __init__(
        self,
        stage: str,
        projections: Sequence[Projection] = (),
        *,
        warn: Callable[[str], None] | None = None,
        before: Sequence[Record] = (),
    ) -> None:
        """Report as `stage` to `projections`, the journal first.

        warn: takes one line when a projection fails. before: what the stage had recorded before an interruption; a resume
        repeats it bit for bit, and what is there is not recorded twice, name by name: a process may be killed between two
        records of one epoch.
        """
        self.stage = stage
        self._projections = list(projections)
        self._warn = warn
        self._known = {_key(record.kind, record.step, record.values) for record in before}
        self._progress_s = 0.0

    def params(self, values: Mapping[str, Any]) -> None:
        """Record what the run was set to."""
        self._record("params", dict(values))

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Record numbers; `step` is the epoch where there is one."""
        self._record("metrics", {name: float(value) for name, value in values.items()}, step)

    def series(self, values: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, step: int) -> None:
        """Record many points of curves at once: name → (steps, numbers), both (points,).

        `step` is the epoch to which the points belong. Raises ValueError when a curve's two lists differ in length.
        """
        curves = {name: ([int(n) for n in steps], [float(v) for v in numbers]) for name, (steps, numbers) in values.items()}
        for name, (steps, numbers) in curves.items():
            if len(steps) != len(numbers):
                raise ValueError(f"series {name}: {len(steps)} steps, but {len(numbers)} numbers")
        self._record("series", {name: list(curve) for name, curve in curves.items()}, step)

    def histograms(self, values: Mapping[str, Histogram], *, step: int) -> None:
        """Record distributions of an epoch; TensorBoard and Weights & Biases show them, MLflow has no such kind."""
        self._record("histograms", {tag: msgspec.to_builtins(histogram) for tag, histogram in values.items()}, step)

    def images(self, paths: Mapping[str, str], *, step: int) -> None:
        """Record pictures of an epoch: tag → path of a PNG file relative to the stage's folder, written before this call."""
        self._record("images", dict(paths), step)

    def pr_curves(self, values: Mapping[str, PrCurve], *, step: int) -> None:
        """Record precision-recall curves of an epoch; TensorBoard alone shows them."""
        self._record("pr_curves", {tag: msgspec.to_builtins(curve) for tag, curve in values.items()}, step)

    def text(self, values: Mapping[str, str]) -> None:
        """Record Markdown by tag: in TensorBoard as text, in MLflow as the file `<stage>/<tag>.md`."""
        self._record("text", dict(values))

    def graph(self, path: str) -> None:
        """Record a network's graph: a file below the stage's folder with a serialized GraphDef; TensorBoard alone shows it."""
        self._record("graph", {"path": path})

    def hparams(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Record what was set and what came of it, for tables that compare runs; a metric is shown as `best/<name>`."""
        numbers = {name: float(value) for name, value in metrics.items()}
        self._record("hparams", {"params": dict(params), "metrics": numbers})

    def embedding(self, tag: str, matrix: str, labels: Sequence[str], *, step: int) -> None:
        """Record points for TensorBoard's projector.

        matrix: a .npy file below the stage's folder, (rows, dimensions). labels: one for each row; line breaks and tabs in
        them become spaces.
        """
        plain = [" ".join(str(label).split()) for label in labels]
        self._record("embedding", {"tag": tag, "path": matrix, "labels": plain}, step)

    def event(self, name: str, **details: Any) -> None:
        """Record that something happened."""
        self._record("event", {"name": name, **details})

    def files(self, folder: Path) -> None:
        """Record a finished folder."""
        self._record("files", {"folder": str(folder)})

    def progress(self, done: int, total: int, **shown: float) -> None:
        """Show that `done` of `total` batches of the epoch are done, with the numbers `shown`; nothing is recorded.

        May be called after every batch: most calls end after one look at the clock.
        """
        now = time.monotonic()
        if now - self._progress_s < _PROGRESS_EVERY_S:
            return
        self._progress_s = now
        for projection in list(self._projections):
            advance = getattr(projection, "advance", None)
            if advance is not None:
                self._guarded(projection, lambda advance=advance: advance(done, total, shown))  # type: ignore[misc]

    def close(self) -> None:
        """Finish every projection."""
        for projection in self._projections:
            self._guarded(projection, projection.close)
        self._projections = []

    def _record(self, kind: Kind, values: dict[str, Any], step: int | None = None) -> None:
        if kind not in _TOLD_AGAIN and _key(kind, step, values) in self._known:
            return
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = Record(moment, self.stage, kind, step, values)
        for projection in list(self._projections):
            self._guarded(projection, lambda projection=projection: projection.show(record))  # type: ignore[misc]

    def _guarded(self, projection: Projection, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a tracking library raises, training goes on
            if projection in self._projections:
                self._projections.remove(projection)
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            if self._warn is not None:
                self._warn(f"{projection.name} failed and is left out from here on: {reason}")


class Shared:
    """A projection that outlives one stage's tracker."""

    def __init__(self, projection: Projection) -> None:
        """Pass on everything but the end."""
        self.name, self.show = projection.name, projection.show
        self.advance = getattr(projection, "advance", None)

    def close(self) -> None:
        """Leave the projection open."""


def _key(kind: Kind, step: int | None, values: dict[str, Any]) -> tuple[str, int | None, Any]:
    """Return what makes a record the same as one of a repeated epoch; without an epoch it is all that the record says."""
    if step is None:
        return kind, None, msgspec.json.encode(values)
    return kind, step, values["tag"] if kind == "embedding" else frozenset(values)
