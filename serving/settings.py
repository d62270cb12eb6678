"""Everything that can be set about the service, in one place; `python -m serving --help` says each on the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from serving.facts import Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """How one worker serves. Times in seconds, sizes in bytes.

    threads: threads inside one call of the model. batch_rows: most rows that are computed together; 0: chosen by measuring the
    model when it is loaded; 1: no batching. wait_s: a request that would wait longer for the model is refused with 503.
    deadline_s: how long a request may take whose client names no deadline of its own. read_s: how long a client may take to
    send a body. in_flight: requests taken at the same time; more get 503. keys: who may ask; empty: everybody. admin_key:
    opens `/admin/…`; None: closed. origins: web pages that may read answers (CORS). shared: the folder through which the
    workers of one service know of each other; None: there is one. canary, shadow: bundles that answer `percent` of the
    requests, or that answer all of them without being heard. traced: spans of requests go to an OpenTelemetry collector.
    """

    limits: Limits = field(default_factory=Limits)
    threads: int = 1
    batch_rows: int = 0
    wait_s: float = 2.0
    deadline_s: float = 30.0
    read_s: float = 10.0
    in_flight: int = 1024
    keys: tuple[bytes, ...] = ()
    admin_key: bytes | None = None
    origins: tuple[str, ...] = ()
    shared: Path | None = None
    log_file: Path | None = None
    log_inputs: bool = False
    canary: Path | None = None
    percent: float = 10.0
    shadow: Path | None = None
    traced: bool = False
