"""What `auto` decides by measuring: the number of threads, and whether to compile.

A measurement is noisy, and another number of threads can change the last bits of a sum. So a choice is made once for a machine,
a network and a batch size, and kept in a file: the second training is the first one's equal, bit for bit.
"""

import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from pipeline.cores import usable_cores
from pipeline.errors import UserError
from serving.files import sha256_of, write_atomic

_QUICK_S = 0.002  # a step this short gains nothing by sharing it out
_GAIN = 1.3  # more threads must be this much faster: they are taken from others
_STEPS, _WARMUP = 8, 3
_COMPILE_FROM_S = 600.0  # training that takes less cannot win back the minute of compiling

Choice = dict[str, Any]


def machine() -> dict[str, Any]:
    """Return what the speed of a step depends on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = (line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name"))
        model = next(lines, model).partition(":")[2].strip() or model
    return {"cpu": model, "cores": usable_cores(), "torch": str(torch.__version__)}


def remembered(folder: Path, subject: Any, measure: Callable[[], Choice]) -> Choice:
    """Return the choice for `subject` (JSON-ready) on this machine, from `folder` where it was made before."""
    key = {"machine": machine(), "subject": subject}
    path = folder / f"{sha256_of(msgspec.json.encode(key, order='sorted'))[:16]}.json"
    if path.is_file():
        try:
            found: Choice = msgspec.json.decode(path.read_bytes())["choice"]
        except (msgspec.DecodeError, KeyError, TypeError):
            path.unlink()  # damaged: it is measured again
        else:
            return found | {"remembered": True}
    choice = measure()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.format(msgspec.json.encode({**key, "choice": choice}), indent=2))
    return choice


def choose_threads(step: Callable[[], object]) -> Choice:
    """Return the number of threads that `step` is fastest with, and the milliseconds of each number tried."""
    before = torch.get_num_threads()
    tried: dict[str, float] = {}
    best, threads = 1, 1
    try:
        while threads <= usable_cores():
            torch.set_num_threads(threads)
            tried[str(threads)] = round(1000 * seconds_of(step), 3)
            if tried[str(best)] > _GAIN * tried[str(threads)]:
                best = threads
            if tried["1"] < 1000 * _QUICK_S:
                break
            threads *= 2
    finally:
        torch.set_num_threads(before)
    return {"threads": best, "ms": tried}


def worth_compiling(step: Callable[[], object], compiled: Callable[[], object], *, steps: int) -> Choice:
    """Return whether a compiled step wins over `steps` steps, its compilation included, and what was measured."""
    plain = seconds_of(step)
    if plain * steps < _COMPILE_FROM_S:
        return {"compile": False, "why": f"training takes about {plain * steps:.0f} s, less than {_COMPILE_FROM_S:.0f}"}
    started = time.perf_counter()
    try:
        compiled()
    except Exception as error:  # a compiler is a machine of its own; without one the plain step works
        return {"compile": False, "why": f"compiling failed: {str(error).splitlines()[0][:120]}"}
    spent = time.perf_counter() - started
    fast = seconds_of(compiled)
    return {
        "compile": spent + fast * steps < plain * steps,
        "why": f"{1000 * fast:.2f} ms a step after {spent:.0f} s of compiling, {1000 * plain:.2f} without",
    }


def seconds_of(step: Callable[[], object]) -> float:
    """Return the shortest time of a few calls, after a few to warm up."""
    for _ in range(_WARMUP):
        step()
    times = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times)


def check_compiles(compiled: Callable[[], object]) -> None:
    """Raise UserError when a step cannot be compiled here."""
    try:
        compiled()
    except Exception as error:  # a compiler is a machine of its own
        raise UserError(
            f"train.compile: torch.compile fails here: {str(error).splitlines()[0][:200]}; set it to false"
        ) from error


def batch_size_for(asked: int | Literal["auto"], rows: int) -> int:
    """Return the rows in a step: as asked, or the power of two that gives about forty steps, between 16 and 1024."""
    if asked != "auto":
        return asked
    return int(min(1024, max(16, 2 ** round(math.log2(max(rows, 1) / 40)))))


def digest(source: bytes | None) -> str | None:
    """Return the digest of a custom model's file."""
    return sha256_of(source) if source is not None else None
