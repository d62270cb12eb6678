"""What more than speed per request is asked of ours: the share of a bigger model's throughput, the cold start, the memory."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import wires
from benchmarks.serving.load import measure
from benchmarks.serving.models import bundle_of, golden_rows
from benchmarks.serving.rounds import Contender, launch, rest, wrong
from benchmarks.serving.stacks import ROOT, STACKS
from serving.bundle import Bundle

SIZES = (1, 2, 4, 8, 16, 32)
_CONNECTIONS = 32


@dataclass(frozen=True)
class Bigger:
    """Rows a second. raw: of a bare session, by batch size. served: one row in each request, by body. faults: or why not.

    errors: of all rounds, by body; the rates count answers only.
    """

    raw: dict[int, float]
    served: dict[str, float]
    faults: dict[str, str]
    errors: dict[str, int]

    @property
    def best(self) -> float:
        """The bare session's throughput at its best batch size."""
        return max(self.raw.values())


def bigger(run: Path, folder: Path, *, rounds: int, seconds: int, cores: tuple[int, int]) -> Bigger:
    """Measure ours on a bigger model, c = 32 with one row each, beside the bare session, in turns on the same core."""
    bundle = bundle_of(run)
    description = Bundle(bundle).description
    kinds = {"JSON": wires.OURS, "binary": wires.v2(description.name, binary=True)}
    contender = Contender("ours", STACKS["ours"])
    server = launch(contender, run, folder, cores[0])
    try:
        checks = {kind: wrong(contender.port, wire, bundle, 1) for kind, wire in kinds.items()}
        faults = {kind: fault for kind, fault in checks.items() if fault is not None}
        rates: dict[str, list[float]] = {kind: [] for kind in kinds if kind not in faults}
        errors = dict.fromkeys(rates, 0)
        raw: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(rounds):
            rest(contender, bundle)
            for size, rate in _raw(bundle / description.artifact.file, cores[0]).items():
                raw[size].append(rate)
            server.resume()
            for kind, found in rates.items():
                headers, body = kinds[kind].encode(golden_rows(bundle, 1)[0])
                url = f"http://127.0.0.1:{contender.port}{kinds[kind].path}"
                sample = measure(url, headers, body, connections=_CONNECTIONS, seconds=seconds, core=cores[1])
                found.append(sample.rate)
                errors[kind] += sample.errors
    finally:
        server.stop()
    middles = {kind: statistics.median(found) for kind, found in rates.items()}
    return Bigger({size: statistics.median(found) for size, found in raw.items()}, middles, faults, errors)


def _raw(model: Path, core: int) -> dict[int, float]:
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.serving.apps.raw", "0.4", *map(str, SIZES)]
    environment = {"MODEL": str(model), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return {int(size): float(rate) for size, rate in json.loads(done.stdout).items()}


def cold_start(run: Path, folder: Path, *, times: int, core: int) -> tuple[float, float]:
    """Return the median seconds from the command to /readyz 200, and MB of a worker that has not answered yet."""
    seconds, memory = [], []
    for number in range(times):
        contender = Contender("ours", STACKS["ours"])
        server = launch(contender, run, folder / str(number), core)
        seconds.append(contender.ready_s)
        memory.append(server.resident_mb()[0])
        server.stop()
    return statistics.median(seconds), statistics.median(memory)
