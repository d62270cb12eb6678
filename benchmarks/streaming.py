"""What rows that memory cannot hold cost: rows per second and resident memory, streamed from disk and sliced in memory.

    python -m benchmarks.streaming [--gigabytes 5] [--rounds 3] [--folder /tmp]

Rows of 20 float32 values and a float32 target are made in a folder that is deleted afterwards. Compared are an epoch over a
part that fits into memory, and the first as many rows of an epoch over all rows on disk; with the train step of the tabular
network (Mlp 20-24-12-6-1, batches of 256, fused Adam) and with no step at all. `cold` means that the kernel was told to drop
the files from its cache. Each measurement runs in a process of its own, on Linux, with one thread for training, after two
seconds of warm-up; rounds are interleaved, and the tables show medians, and the largest memory. At last, one whole epoch with
the train step shows that memory stays bounded.
"""

import argparse
import multiprocessing
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import SlipwayError, UserError
from pipeline.models.mlp import Mlp
from pipeline.training.batches import Batches, InMemory
from pipeline.training.streaming import StreamedBatches

VALUES, BATCH_SIZE, CHUNK = 20, 256, 500_000
IN_MEMORY_ROWS = 5_000_000  # 420 MB
MIB = 2**20
Kind = Literal["in memory", "streamed"]


@dataclass(frozen=True)
class Measured:
    """Rows a second, and in bytes the peak of resident memory, less the peak before the rows were opened."""

    rows_per_s: float
    growth: int


def make_rows(folder: Path, gigabytes: float) -> int:
    """Write inputs and targets chunk by chunk, return the number of rows; raise UserError when the disk is too full."""
    rows = max(2 * CHUNK, round(gigabytes * 1e9 / (4 * VALUES) / CHUNK) * CHUNK)
    wanted, free = rows * 4 * (VALUES + 1), shutil.disk_usage(folder).free
    if wanted > 0.9 * free:
        raise UserError(
            f"{folder}: {rows:,} rows take {wanted / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "give less --gigabytes or another --folder"
        )
    generator = np.random.default_rng(0)
    with (folder / "inputs.npy").open("wb") as inputs, (folder / "targets.npy").open("wb") as targets:
        for file, shape in ((inputs, (rows, VALUES)), (targets, (rows,))):
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for _ in range(rows // CHUNK):
            chunk = generator.standard_normal((CHUNK, VALUES), dtype=np.float32)
            chunk.tofile(inputs)
            chunk.sum(axis=1).tofile(targets)
        for file in (inputs, targets):
            file.flush()
            os.fsync(file.fileno())
    return rows


def measure(kind: Kind, folder: Path, *, step: bool, cold: bool, most: int | None) -> Measured:
    """Run an epoch in this process, or its first `most` rows, and measure it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = _train_step() if step else _no_step
    _warm_up(work)
    before = _peak_bytes()
    rows = _open(kind, folder)
    if cold:
        _drop_from_cache(folder)
    count, started = 0, time.perf_counter()
    for inputs, targets in rows.shuffled(seed=0, epoch=1):
        work(inputs, targets)
        count += len(targets)
        if most is not None and count >= most:
            break
    seconds = time.perf_counter() - started
    return Measured(count / seconds, _peak_bytes() - before)


def _open(kind: Kind, folder: Path) -> Batches:
    inputs, targets = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("inputs", "targets"))
    if kind == "streamed":
        return StreamedBatches(inputs, targets, BATCH_SIZE, device=torch.device("cpu"), transform=_normalize)
    part = slice(0, min(IN_MEMORY_ROWS, len(inputs)))
    return InMemory(_normalize(torch.tensor(inputs[part])), torch.tensor(targets[part]), BATCH_SIZE)


def _normalize(rows: Tensor) -> Tensor:
    return (rows - 0.1) / 1.1


def _train_step() -> Callable[[Tensor, Tensor], None]:
    net = Mlp((VALUES,), 1, hidden=(24, 12, 6))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.mse_loss(net(inputs).squeeze(1), targets).backward()
        optimizer.step()

    return step


def _no_step(_: Tensor, __: Tensor) -> None:
    """Only take the batch."""


def _warm_up(work: Callable[[Tensor, Tensor], None]) -> None:
    inputs, targets, ends = torch.randn(BATCH_SIZE, VALUES), torch.randn(BATCH_SIZE), time.perf_counter() + 2
    while time.perf_counter() < ends:
        work(inputs, targets)


def _drop_from_cache(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _peak_bytes() -> int:
    """Return the largest resident memory of this process so far: getrusage would count the process that started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _in_a_process(kind: Kind, folder: Path, *, step: bool, cold: bool, most: int | None = None) -> Measured:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, kind, folder, step=step, cold=cold, most=most).result()


def _table(folder: Path, *, step: bool, part: int, rounds: int) -> None:
    contenders: list[tuple[str, Kind, bool]] = [
        ("in memory", "in memory", False),
        ("streamed, warm", "streamed", False),
        ("streamed, cold", "streamed", True),
    ]
    found: dict[str, list[Measured]] = {name: [] for name, _, _ in contenders}
    for _ in range(rounds):
        for name, kind, cold in contenders:
            found[name].append(_in_a_process(kind, folder, step=step, cold=cold, most=part))
    memory = statistics.median(measured.rows_per_s for measured in found["in memory"])
    print(
        f"| {'train step' if step else 'no step'}, {part:,} rows | rows a second | of in memory | resident memory, MiB more |"
    )
    print("|---|---|---|---|")
    for name, measured in found.items():
        rate = statistics.median(one.rows_per_s for one in measured)
        growth = max(one.growth for one in measured) / MIB
        print(f"| {name} | {rate:,.0f} | {rate / memory:.2f} | {growth:,.0f} |")
    print(flush=True)


def _report(folder: Path, gigabytes: float, rounds: int) -> None:
    rows = make_rows(folder, gigabytes)
    size = sum(path.stat().st_size for path in folder.iterdir()) / MIB
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread for training; "
        f"{rows:,} rows of {VALUES} values, {size:,.0f} MiB on disk; batches of {BATCH_SIZE}; "
        f"median of {rounds} interleaved rounds\n"
    )
    for step in (True, False):
        _table(folder, step=step, part=min(IN_MEMORY_ROWS, rows), rounds=rounds)
    whole = _in_a_process("streamed", folder, step=True, cold=True)
    print(f"A whole epoch with the train step: {whole.rows_per_s:,.0f} rows a second, {whole.growth / MIB:,.0f} MiB more.")


def main() -> int:
    """Print two tables and a line."""
    parser = argparse.ArgumentParser(description="Rows a second and resident memory, from disk and in memory.")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the file of rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to make it; default: the system's temporary folder")
    options = parser.parse_args()
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"--folder {options.folder}: no such folder; make it first")
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            _report(Path(folder), options.gigabytes, options.rounds)
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
