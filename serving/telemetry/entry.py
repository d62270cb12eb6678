"""One request as the ledger keeps it."""

from dataclasses import dataclass

from serving.schema import Array

PREDICTING = ("predict", "v2", "invocations", "v1")  # protocols whose requests ask the model; all else is "other"
PHASES = ("read", "decode", "queue", "compute", "encode")


@dataclass(slots=True)
class Entry:
    """What is known of one request when its reply has left.

    model: digest of the model that answered, or that was asked; empty where there was none. read … total: seconds. batch: rows
    of the batch that it was computed in, 0 when none. at: `time.time()` when it was read. reason: code of the refusal, empty
    when answered. inputs: (rows, *shape), outputs: (rows, outputs): references, so nobody may write into them afterwards;
    None: this request says nothing about drift. path, traceparent: as sent, for traces; empty where none are asked for.
    """

    protocol: str
    status: int
    model: str
    rows: int
    read: float
    decode: float
    queue: float
    compute: float
    encode: float
    total: float
    batch: int
    id: str
    at: float
    reason: str = ""
    inputs: Array | None = None
    outputs: Array | None = None
    role: str = "live"  # live, canary, shadow
    path: str = ""
    traceparent: str = ""
