"""How fast the training loop is: seconds an epoch beside a bare loop, the textbook's loop, Lightning and skorch.

    python -m benchmarks.training [--rounds 5] [--epochs 6]

Same network, rows, batch size, optimizer (Adam) and number of threads for all; every contender trains for the same number of
epochs in each round, the rounds are interleaved, and the table shows the median over rounds of a round's median epoch, without
its first, which warms up. Slipway's epochs include metrics on train and validation rows, journal, TensorBoard and checkpoints.
Lightning and skorch are measured where they are installed: `make bench-training` installs them.
"""

import argparse
import importlib.util
import platform
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.training.jobs import Job, jobs
from benchmarks.training.others import bare, lightning, skorch, textbook
from benchmarks.training.ours import ours

CONTENDERS: dict[str, Callable[[Job, int], list[float]]] = {
    "bare loop (the limit)": bare,
    "Slipway, default monitors": ours,
    "Slipway, monitors off": partial(ours, monitors=False),
    "textbook DataLoader": textbook,
    "Lightning": lightning,
    "skorch": skorch,
}


def main() -> int:
    """Print a table for each job."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description="Seconds an epoch, beside other loops.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    there = {
        name: run
        for name, run in CONTENDERS.items()
        if name not in {"Lightning", "skorch"} or importlib.util.find_spec(name.lower())
    }
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, one thread, "
        f"median of {options.rounds} interleaved rounds of {options.epochs} epochs\n"
    )
    for job in jobs():
        best: dict[str, list[float]] = {name: [] for name in there}
        for _ in range(options.rounds):
            for name, run in there.items():
                best[name].append(statistics.median(run(job, options.epochs)[1:]))  # the first epoch warms up
        limit = statistics.median(best["bare loop (the limit)"])
        print(f"| {job.name}, batch {job.batch_size} | ms an epoch | times the limit |\n|---|---|---|")
        for name, seconds in best.items():
            middle = statistics.median(seconds)
            print(f"| {name} | {1000 * middle:.0f} | {middle / limit:.2f} |")
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
