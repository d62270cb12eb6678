"""The journal of a run: `journal.jsonl`, a record on each line, written by one process and read by others while it grows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from pipeline.tracking.records import Record


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


def follow_journal(path: Path, first: int, finished: Callable[[], bool]) -> Iterator[list[Record]]:
    """Yield the records from line `first` (0 is the first) on, as they are written, until `finished()` and nothing is left."""
    with path.open("rb") as file:
        for _ in range(first):
            file.readline()
        while True:
            last = finished()
            lines = _complete_lines(file)
            if lines:
                yield [msgspec.json.decode(line, type=Record) for line in lines]
            elif last:
                return


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
