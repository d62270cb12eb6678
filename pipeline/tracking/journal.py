"""The journal of a run, and the tracker that feeds it and its projections."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

Kind = Literal["params", "metrics", "event", "files"]


class Record(msgspec.Struct, frozen=True):
    """One line of the journal.

    `values` holds, by kind: params: key → value; metrics: name → number; event: name and details; files: the folder that was
    made. A number that is not finite is written as null, which is what JSON has for it.
    """

    time: str  # UTC, ISO 8601
    stage: str
    kind: Kind
    step: int | None
    values: dict[str, Any]


class Projection(Protocol):
    """A view of the journal for people: given each record once, in order."""

    name: str

    def show(self, record: Record) -> None:
        """Take one record."""

    def close(self) -> None:
        """Finish what was taken."""


class Journal:
    """`journal.jsonl`: records, appended and flushed one by one."""

    name = "journal"

    def __init__(self, path: Path) -> None:
        """Append to `path`; a last line that a crash cut off is removed first."""
        self._file = path.open("ab+")
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

    def show(self, record: Record) -> None:
        """Append one line."""
        self._file.write(msgspec.json.encode(record) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path, stage: str) -> list[Record]:
    """Return a stage's records, without a last line that a crash cut off."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    records = [msgspec.json.decode(line, type=Record) for line in lines if line.endswith(b"\n")]
    return [record for record in records if record.stage == stage]


class Tracker:
    """What a stage reports to. Without projections it is the null tracker."""

    def __init__(
        self,
        stage: str,
        projections: Sequence[Projection] = (),
        *,
        warn: Callable[[str], None] | None = None,
        after_step: int | None = None,
    ) -> None:
        """Report as `stage` to `projections`, the journal first.

        warn: takes one line when a projection fails. after_step: metrics up to this step were recorded before an interruption;
        a resume repeats them bit for bit, and they are not recorded twice.
        """
        self.stage, self._after_step = stage, after_step
        self._projections = list(projections)
        self._warn = warn

    def params(self, values: Mapping[str, Any]) -> None:
        """Record what the run was set to."""
        self._record("params", dict(values))

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Record numbers; `step` is the epoch where there is one."""
        if step is None or self._after_step is None or step > self._after_step:
            self._record("metrics", {name: float(value) for name, value in values.items()}, step)

    def event(self, name: str, **details: Any) -> None:
        """Record that something happened."""
        self._record("event", {"name": name, **details})

    def files(self, folder: Path) -> None:
        """Record a finished folder."""
        self._record("files", {"folder": str(folder)})

    def close(self) -> None:
        """Finish every projection."""
        for projection in self._projections:
            self._guarded(projection, projection.close)
        self._projections = []

    def _record(self, kind: Kind, values: dict[str, Any], step: int | None = None) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = Record(time, self.stage, kind, step, values)
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
