"""The measurement: every stack is started and asked, those that answer right are loaded in turn, all others paused meanwhile.

A cell is a body and a number of connections. Rounds are interleaved and their order rotates, so that a slow moment of the
machine falls on all stacks alike; a figure is the median over rounds.
"""

import http.client
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.serving.environments import python_of, unusable
from benchmarks.serving.load import Sample, measure
from benchmarks.serving.models import bundle_of, golden_rows
from benchmarks.serving.processes import Server, free_port
from benchmarks.serving.stacks import STACKS, Place, Stack, environment
from benchmarks.serving.wires import Wire
from serving.bundle import Bundle
from serving.schema import Array

_START_S, _TOLERANCE = 60.0, 1e-4
_SETTLE_S = 0.3
_WARM_S = 1  # wrk takes whole seconds


@dataclass(frozen=True)
class Body:
    """What is posted: so many rows, as JSON or in binary, with so many connections in turn."""

    rows: int
    kind: str
    connections: tuple[int, ...]


BODIES = {
    "JSON, 1 row": Body(1, "json", (1, 8, 32)),
    "JSON, 16 rows": Body(16, "json", (1, 32)),
    "binary, 16 rows": Body(16, "binary", (1, 32)),
}


@dataclass
class Contender:
    """A stack in this measurement. faults: by body, or "" for all, why it is not timed. samples: by body and connections."""

    name: str
    stack: Stack
    server: Server | None = None
    port: int = 0
    ready_s: float = 0.0
    memory_mb: tuple[float, float] = (0.0, 0.0)
    faults: dict[str, str] = field(default_factory=dict)
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)

    def wire(self, body: str) -> Wire | None:
        """Return how this body is sent, or None where it is not timed."""
        if self.server is None or body in self.faults:
            return None
        return self.stack.wires.get(BODIES[body].kind)


def start(name: str, run: Path, folder: Path, core: int) -> Contender:
    """Start a stack and ask it for golden rows of each kind; what is wrong stands in `faults`."""
    contender = Contender(name, STACKS[name])
    try:
        if (reason := unusable(name)) is not None:
            raise OSError(reason)
        server = launch(contender, run, folder / name, core)
    except (OSError, TimeoutError) as error:
        contender.faults[""] = str(error)
        if contender.server is not None:
            contender.server.stop()
            contender.server = None
        return contender
    for body, shape in BODIES.items():
        wire = contender.stack.wires.get(shape.kind)
        fault = None if wire is None else wrong(contender.port, wire, bundle_of(run), shape.rows)
        if fault is not None:
            contender.faults[body] = fault
    server.pause()
    return contender


def launch(contender: Contender, run: Path, folder: Path, core: int) -> Server:
    """Start the server of a contender and wait until it answers; raise OSError or TimeoutError."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = bundle_of(run)
    description = Bundle(bundle).description
    contender.port = free_port()
    at = Place(
        python_of(contender.name), folder, run, bundle, bundle / description.artifact.file, description.name, contender.port
    )
    command = contender.stack.command(at)
    contender.server = Server(command, core=core, folder=folder, environment=environment(at))
    wire, path = contender.stack.wires["json"], contender.stack.ready
    rows, _ = golden_rows(bundle, 1)

    last: list[str] = []

    def ready() -> bool:
        status, _, answer = ask(contender.port, path) if path else ask(contender.port, wire.path, *wire.encode(rows))
        last[:] = [] if status is None else [f"; its last answer was {status}: {answer[:100]!r}"]
        return status == 200

    try:
        contender.ready_s = contender.server.wait(ready, seconds=_START_S)
    except TimeoutError as error:
        raise TimeoutError(f"{error}{''.join(last)}") from error
    return contender.server


def ask(
    port: int, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int | None, dict[str, str], bytes]:
    """Return status, headers and body of an answer; no status where nobody answers yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except (OSError, http.client.HTTPException):
        return None, {}, b""
    finally:
        connection.close()


def wrong(port: int, wire: Wire, bundle: Path, count: int) -> str | None:
    """Return what is wrong with the answer to golden rows, or None: it is the evaluated model's own."""
    rows, expected = golden_rows(bundle, count)
    status, headers, body = ask(port, wire.path, *wire.encode(rows))
    if status != 200:
        return f"answers {status}: {body[:100]!r}"
    try:
        found: Array = wire.decode(headers, body)
    except (LookupError, TypeError, ValueError) as error:
        return f"answers what cannot be read ({type(error).__name__}): {body[:100]!r}"
    if found.shape != expected.shape:
        return f"answers shape {found.shape}, not {expected.shape}"
    largest = float(np.abs(found - expected).max())
    return None if largest <= _TOLERANCE else f"answers wrongly: off by {largest:.3g}"


def play(contenders: list[Contender], bundle: Path, *, rounds: int, seconds: int, core: int) -> None:
    """Load every contender in every round, and add to its samples."""
    alive = [one for one in contenders if one.server is not None]
    for number in range(rounds):
        turn = number % len(alive) if alive else 0
        for contender in alive[turn:] + alive[:turn]:
            assert contender.server is not None
            contender.server.resume()
            for body in BODIES:
                try:
                    _load(contender, body, bundle, seconds=seconds, core=core, warm=not number)
                except ValueError as error:
                    contender.faults[body] = f"in round {number + 1}: {error}"
            contender.memory_mb = contender.server.resident_mb()
            rest(contender, bundle)
        print(f"round {number + 1} of {rounds} done", flush=True)


def rest(contender: Contender, bundle: Path) -> None:
    """Pause a server when it has answered what the load left behind: a pause within a request would look like a slow model."""
    assert contender.server is not None
    wire = contender.stack.wires["json"]
    ask(contender.port, wire.path, *wire.encode(golden_rows(bundle, 1)[0]))
    time.sleep(_SETTLE_S)
    contender.server.pause()


def _load(contender: Contender, body: str, bundle: Path, *, seconds: int, core: int, warm: bool) -> None:
    """Load a contender with one body at each number of connections; raise ValueError where it answers wrongly by now."""
    shape, wire = BODIES[body], contender.wire(body)
    if wire is None:
        return
    if (fault := wrong(contender.port, wire, bundle, shape.rows)) is not None:
        raise ValueError(fault)
    if warm:
        _window(contender.port, wire, bundle, shape.rows, connections=8, seconds=_WARM_S, core=core)
    for connections in shape.connections:
        sample = _window(contender.port, wire, bundle, shape.rows, connections=connections, seconds=seconds, core=core)
        contender.samples.setdefault((body, connections), []).append(sample)


def _window(port: int, wire: Wire, bundle: Path, count: int, *, connections: int, seconds: int, core: int) -> Sample:
    headers, body = wire.encode(golden_rows(bundle, count)[0])
    return measure(f"http://127.0.0.1:{port}{wire.path}", headers, body, connections=connections, seconds=seconds, core=core)


def middle(samples: list[Sample]) -> Sample:
    """Return the medians over rounds, and all errors."""
    return Sample(
        statistics.median(one.rate for one in samples),
        statistics.median(one.p50_ms for one in samples),
        statistics.median(one.p99_ms for one in samples),
        sum(one.errors for one in samples),
    )
