"""What pruning, 8 bits and ONNX Runtime give on two networks, and what the Predictor costs above a bare session.

    python -m benchmarks.artifacts [digits] [resnet] [--threads 1] [--set train.epochs=5 …]

Runs the pipeline's stages up to `select` in an empty folder that is deleted afterward: the digits CNN and a ResNet, on five
folds each. Every ratio is of one sitting, in interleaved windows (pipeline.measuring): times faster than the float model run by
PyTorch, and than its ONNX file. What accuracy drops by is counted on rows that are held out of everything before.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.artifacts.networks import NETS, ROOT, Net, write_config
from benchmarks.artifacts.overhead import overheads
from benchmarks.artifacts.pooled import held_out
from benchmarks.artifacts.recipe import RUN
from benchmarks.artifacts.verdicts import Made, artifact_table, between_folds, fold_table, targets
from benchmarks.serving.table import Target, target_table
from pipeline.artifacts import Benchmarked, Selected
from pipeline.errors import GateRefused
from pipeline.measuring.rows import Benchmark
from serving.bundle import Bundle


def main() -> int:
    """Print the tables of each network, and at the end whether each target is met."""
    parser = argparse.ArgumentParser(description="Ratios of every artifact against the float model, in one sitting.")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}; default: all")
    parser.add_argument("--threads", type=int, default=1, help="inside one call of a model")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys that win over the config")
    options = parser.parse_args()
    if unknown := set(options.nets) - set(NETS):
        parser.error(f"no such network: {', '.join(unknown)}; there are {', '.join(NETS)}")
    found: list[Target] = []
    for name in options.nets or NETS:
        words = [f"benchmark.threads={options.threads}", *options.set]
        found += [replace(one, what=f"{name}, {one.what}") for one in measure(name, NETS[name], words)]
    print(*target_table(found), sep="\n")
    return 0


def measure(name: str, net: Net, words: Sequence[str]) -> list[Target]:
    """Make every fold of a network, print what came of it, and return its targets."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        config = write_config(name, Path(scratch))
        made = [make(config, Path(scratch, f"fold-{fold}"), fold, net, words) for fold in range(net.folds)]
        costs = overheads(Bundle(Path(scratch, "fold-0", RUN, "select", "bundle"))) if made[0].winner else []
    first, conditions = made[0].benchmark, made[0].benchmark.conditions
    print(
        f"\n**{name}**, fold 1 of {net.folds}: {first.rows_scored} validation rows, {conditions['cpu']}, "
        f"{conditions['cores']} cores, threads {first.baseline.threads}, load {conditions['load_average']} to "
        f"{conditions['load_average_after']}, versions {conditions['versions']}; {time.perf_counter() - started:.0f} s in all\n"
    )
    for lines in (artifact_table(made[0]), fold_table(made), between_folds(made)):
        if lines:
            print(*lines, "", sep="\n", flush=True)
    return targets(made, costs, against_onnx=net.against_onnx)


def make(config: Path, folder: Path, fold: int, net: Net, words: Sequence[str]) -> Made:
    """Run the recipe of a fold, numbered from 0, in a process of its own; end where a stage does."""
    folder.mkdir()
    recipe = [sys.executable, "-m", "benchmarks.artifacts.recipe", str(folder), str(config), str(fold), str(net.folds)]
    done = subprocess.run([*recipe, *net.words_of(fold), *words], cwd=ROOT, capture_output=True, text=True, check=False)
    refused = done.returncode == GateRefused.exit_code and (folder / RUN / "benchmark" / "manifest.json").is_file()
    if done.returncode and not refused:
        sys.exit(f"{config.name}, fold {fold + 1}: exit {done.returncode}\n{done.stderr}")
    benchmark = msgspec.json.decode(Benchmarked.open(folder / RUN / "benchmark").read(Benchmarked.BENCHMARK), type=Benchmark)
    if refused:
        print(f"fold {fold + 1}: select refused:\n{done.stderr}")
        return Made(benchmark)
    winner = json.loads(Selected.open(folder / RUN / "select").read(Selected.DECISION))["winner"]
    return Made(benchmark, winner, held_out(folder))


if __name__ == "__main__":
    sys.exit(main())
