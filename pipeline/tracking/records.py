"""What the journal consists of: records of a few kinds, each complete in itself, so that any view can be rebuilt from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

Kind = Literal[
    "params",
    "metrics",
    "event",
    "files",
    "series",
    "histograms",
    "images",
    "pr_curves",
    "text",
    "graph",
    "hparams",
    "embedding",
]

HPARAM = "best/"  # before a metric of `hparams` where curves are, so that it is not taken for a point of one


class Record(msgspec.Struct, frozen=True):
    """One line of the journal.

    `values` holds, by kind:

        params      key → value
        metrics     name → number; `step` is the epoch where there is one
        event       `name` and details
        files       `folder`: the folder that was made
        series      name → [steps, numbers]; `step` is the epoch to which the points belong
        histograms  tag → the fields of a `Histogram`
        images      tag → path of a PNG file below the stage's folder
        pr_curves   tag → the fields of a `PrCurve`
        text        tag → Markdown
        graph       `path`: a serialized GraphDef below the stage's folder
        hparams     `params`: key → value, and `metrics`: name → number
        embedding   `tag`, `path` of a matrix (.npy, rows x dimensions) below the stage's folder, and `labels`, one for each row

    A number that is not finite is written as null, which is what JSON has for it. Files are named relative to the stage's
    folder, since that folder takes another name when the stage is done.
    """

    time: str  # UTC, ISO 8601
    stage: str
    kind: Kind
    step: int | None
    values: dict[str, Any]


class Histogram(msgspec.Struct, frozen=True):
    """How many values fell into each bucket; raises ValueError unless there are as many edges as counts, and at least one."""

    minimum: float
    maximum: float
    count: int
    total: float
    total_of_squares: float
    edges: Sequence[float]  # (buckets,), the right limit of each bucket, increasing
    counts: Sequence[int]  # (buckets,)

    def __post_init__(self) -> None:
        if not self.edges or len(self.edges) != len(self.counts):
            raise ValueError(f"a histogram needs an edge for each count: {len(self.edges)} edges, {len(self.counts)} counts")


class PrCurve(msgspec.Struct, frozen=True):
    """Precision and recall at thresholds that rise from 0 to 1 in even steps.

    Raises ValueError for columns of unequal length, and for more than 127 thresholds, which TensorBoard does not show.
    """

    true_positives: Sequence[int]  # (thresholds,), as every other column
    false_positives: Sequence[int]
    true_negatives: Sequence[int]
    false_negatives: Sequence[int]
    precision: Sequence[float]
    recall: Sequence[float]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in self.__struct_fields__}
        if len(set(lengths.values())) != 1 or not 1 <= len(self.recall) <= 127:
            raise ValueError(f"the columns of a precision-recall curve must be equally long, 1 to 127: {lengths}")


class Projection(Protocol):
    """A view of the journal for people: given each record once, in order.

    One that also has `advance(done, total, shown)` is told how far an epoch is, a few times a second.
    """

    name: str

    def show(self, record: Record) -> None:
        """Take one record."""

    def close(self) -> None:
        """Finish what was taken."""


def read_stage_file(run: Path, stage: str, name: str) -> bytes | None:
    """Return the bytes of a stage's file in a run's folder, whether the stage is still at work or done; None when it is gone.

    It is gone when the stage was interrupted and its unfinished folder cleaned up: then nothing is left to be shown. The order
    matters: an unfinished folder may be renamed at any moment, and then is found under its other name.
    """
    for folder in (f"{stage}.partial", stage):
        try:
            return (run / folder / name).read_bytes()
        except FileNotFoundError:
            continue
    return None
