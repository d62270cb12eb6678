"""What the parent says to a worker and what it hears: a line of JSON each way, arrays in .npy files."""

from typing import Literal

import msgspec

from serving.bundle import Provider, Runtime
from serving.files import FileRecord
from serving.schema import Schema

Engine = Literal["eager", Runtime]


class Kept(msgspec.Struct, frozen=True):
    """A file and what it must be."""

    path: str
    record: FileRecord


class Load(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Load what is to be measured, once, before anything else.

    artifact: of a Predictor, or the checkpoint of the eager model, which needs `statistics` as well, and `source` where its
    model is the user's own. inputs: .npy with the validation rows, (rows, *schema.shape). provider: of ONNX Runtime.
    """

    engine: Engine
    artifact: Kept
    schema: Schema
    threads: int
    inputs: str
    provider: Provider = "cpu"
    statistics: Kept | None = None
    source: Kept | None = None


class Answer(msgspec.Struct, frozen=True, tag=True):
    """Answer rows `start` to `stop`, so many in a call, and write the answers, (rows, outputs), to the .npy file `into`."""

    start: int
    stop: int
    batch_size: int
    into: str


class Window(msgspec.Struct, frozen=True, tag=True):
    """Call the model for so long, but at least so often, and tell how long each call took."""

    batch_size: int
    window_ms: float
    least_calls: int


class Remember(msgspec.Struct, frozen=True, tag=True):
    """Tell how much memory the process took."""


class Probe(msgspec.Struct, frozen=True, tag=True):
    """Tell whether a provider of ONNX Runtime computes anything here; needs no Load before it."""

    provider: Provider


Order = Load | Answer | Window | Remember | Probe


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """load_s: from bytes to the first answer, imports of the runtime included."""

    load_s: float


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The file is written."""


class Timed(msgspec.Struct, frozen=True, tag=True):
    """Nanoseconds of each call, in order."""

    calls_ns: list[int]


class Remembered(msgspec.Struct, frozen=True, tag=True):
    """peak_bytes: the most that was resident; pss_bytes: resident now, shared pages in parts; `how` names the sources."""

    peak_bytes: int
    pss_bytes: int | None
    how: str


class Probed(msgspec.Struct, frozen=True, tag=True):
    """fault: why nothing is computed on it; None where it is."""

    fault: str | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An order that could not be carried out, and why, in one line."""

    reason: str


Reply = Loaded | Answered | Timed | Remembered | Probed | Failed
