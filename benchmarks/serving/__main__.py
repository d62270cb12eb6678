"""The service under load beside other model servers, with the same model, body and core.

    python -m benchmarks.serving [--only ours,fastapi] [--rounds 3] [--seconds 2] [--json figures.json] [--run RUN]
    python -m benchmarks.serving --install [PIP ARGUMENTS]

Prints a table, what each stack weighs, and the targets of the service with met or missed. docs/serving-speed.md says how.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.serving import table
from benchmarks.serving.bigger import Bigger, bigger, cold_start
from benchmarks.serving.environments import install
from benchmarks.serving.load import need_wrk
from benchmarks.serving.models import bundle_of, made
from benchmarks.serving.rounds import Contender, play, start
from benchmarks.serving.stacks import STACKS

_COLD_STARTS = 5


def main() -> int:
    """Install, or measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description="The service beside other model servers.")
    parser.add_argument("--only", default=",".join(STACKS), metavar="STACK,…", help=f"of {', '.join(STACKS)}")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="of load in each cell of a round (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure of every round there")
    parser.add_argument("--run", type=Path, help="a run of the digits with its export, instead of training one")
    parser.add_argument("--without-resnet", action="store_true", help="leave the bigger model out")
    parser.add_argument("--install", action="store_true", help="only install the others; what follows goes to pip")
    options, rest = parser.parse_known_args()
    names = list(dict.fromkeys(options.only.split(",")))
    if unknown := set(names) - set(STACKS):
        parser.error(f"--only: no such stack: {', '.join(sorted(unknown))}; there are {', '.join(STACKS)}")
    if options.install:
        install(names, rest)
        return 0
    if rest or options.rounds < 1 or options.seconds < 1:
        parser.error(f"not understood: {' '.join(rest)}" if rest else "--rounds and --seconds must be at least 1")
    need_wrk()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("bench-serving: needs two cores, one for the server and one for the load; this process may use one")
    with tempfile.TemporaryDirectory() as folder:
        _measure(options, names, Path(folder), (cores[0], cores[1]))
    return 0


def _measure(options: argparse.Namespace, names: Sequence[str], folder: Path, cores: tuple[int, int]) -> None:
    begun, load = time.perf_counter(), os.getloadavg()
    run = options.run.resolve() if options.run else made("digits", folder / "digits")
    contenders: list[Contender] = []
    try:
        for name in names:
            contenders.append(start(name, run, folder / "stacks", cores[0]))
            _tell(contenders[-1])
        play(contenders, bundle_of(run), rounds=options.rounds, seconds=options.seconds, core=cores[1])
    finally:
        for one in contenders:
            if one.server is not None:
                one.server.stop()
    ours = "ours" in names
    cold = cold_start(run, folder / "cold", times=_COLD_STARTS, core=cores[0]) if ours else None
    large = None
    if ours and not options.without_resnet:
        resnet = made("resnet", folder / "resnet")
        large = bigger(resnet, folder / "large", rounds=options.rounds, seconds=options.seconds, cores=cores)
    found = _targets(contenders, large, cold)
    where = _conditions(options, load, time.perf_counter() - begun)
    _print(contenders, found, large, where)
    if options.json:
        options.json.write_text(json.dumps(_figures(contenders, found, large, cold, where), indent=1))


def _tell(contender: Contender) -> None:
    """Say at once what is wrong with a stack."""
    for body, fault in contender.faults.items():
        print(f"{contender.name}: {body or 'not timed'}: {fault}", flush=True)
    if not contender.faults:
        print(f"{contender.name}: answers right after {contender.ready_s:.1f} s", flush=True)


def _targets(contenders: Sequence[Contender], large: Bigger | None, cold: tuple[float, float] | None) -> list[table.Target]:
    faults = {one.name: "; ".join(one.faults.values()) for one in contenders}
    loaded = next((one.memory_mb[0] for one in contenders if one.name == "ours" and one.samples), None)
    return table.targets(table.figures_of(contenders), faults, large, cold, loaded)


def _conditions(options: argparse.Namespace, load: tuple[float, float, float], seconds: float) -> dict[str, Any]:
    processors = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return {
        "cpu": next(iter(processors), platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "wrk": " ".join((wrk.stdout + wrk.stderr).split()[1:2]),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "load_average": [round(value, 2) for value in (load[0], os.getloadavg()[0])],
        "seconds_in_all": round(seconds),
    }


def _print(contenders: Sequence[Contender], found: list[table.Target], large: Bigger | None, where: dict[str, Any]) -> None:
    titles = {name: stack.title for name, stack in STACKS.items()}
    versions = {name: stack.pins[0].partition("==")[2] for name, stack in STACKS.items() if stack.pins}
    print(
        f"\n{where['cpu']}, {where['cores']} cores, Python {where['python']}, wrk {where['wrk']}; the server on one core, the "
        f"load on another; median of {where['rounds']} interleaved rounds of {where['seconds']} s, "
        f"load {' to '.join(map(str, where['load_average']))}; {where['seconds_in_all']} s in all\n"
    )
    print("\n".join(table.main_table(table.figures_of(contenders), titles, versions)))
    for one in contenders:
        for body, fault in one.faults.items():
            print(f"\nNot timed: {titles[one.name]}{f', {body}' if body else ''}: {fault}")
    print("\n" + "\n".join(table.side_table(contenders, titles)))
    if large is not None:
        raw = ", ".join(f"{size}: {rate:.0f}" for size, rate in large.raw.items())
        served = ", ".join(f"{kind} {rate:.0f}" for kind, rate in large.served.items()) or "nothing"
        print(f"\nResNet on 3x32x32, rows/s: the bare session by batch size {raw}; ours at c=32, 1 row a request: {served}")
    print("\n" + "\n".join(table.target_table(found)))


def _figures(
    contenders: Sequence[Contender],
    found: list[table.Target],
    large: Bigger | None,
    cold: tuple[float, float] | None,
    where: dict[str, Any],
) -> dict[str, Any]:
    stacks = {
        one.name: {
            "pins": one.stack.pins,
            "faults": one.faults,
            "ready_s": one.ready_s,
            "largest_worker_mb": one.memory_mb[0],
            "all_processes_mb": one.memory_mb[1],
            "rounds": [
                {"body": body, "connections": connections} | asdict(sample)
                for (body, connections), samples in one.samples.items()
                for sample in samples
            ],
        }
        for one in contenders
    }
    judged = [asdict(one) | {"verdict": one.verdict} for one in found]
    bigger_model = None if large is None else asdict(large)
    return {"conditions": where, "stacks": stacks, "resnet": bigger_model, "cold_start": cold, "targets": judged}


if __name__ == "__main__":
    sys.exit(main())
