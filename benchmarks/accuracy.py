"""How good the shipped configs are: the test metric of each over several seeds on one split, or over several splits.

    python -m benchmarks.accuracy [configs/digits.yaml …] [--vary seed|prepare.split_seed] [--values 0 1 2] [--folds 5]

Runs the pipeline itself, `python -m pipeline evaluate`, in an empty folder that is deleted afterward. With `--folds`, it is
`python -m pipeline train train.folds=N`, and the numbers are means over the folds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def main() -> int:
    """Print one Markdown row for each config."""
    parser = argparse.ArgumentParser(description="Test metric of the shipped configs over several seeds or splits.")
    parser.add_argument("configs", nargs="*", type=Path, default=[ROOT / "configs" / f"{name}.yaml" for name in SHIPPED])
    parser.add_argument("--vary", choices=["seed", "prepare.split_seed"], default="seed")
    parser.add_argument("--values", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folds", type=int, help="cross-validate instead, with so many folds")
    options = parser.parse_args()
    rows = "scored rows" if options.folds else "test rows"
    print(f"| config | metric | mean | each {options.vary} | {rows} | seconds a run |\n|---|---|---|---|---|---|", flush=True)
    for config in options.configs:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            words = [f"{options.vary}={value}" for value in options.values]
            results = [measure(config.resolve(), word, Path(folder), folds=options.folds) for word in words]
            seconds = (time.perf_counter() - started) / len(options.values)
        mean = statistics.mean(result.value for result in results)
        shown = ", ".join(result.shown for result in results)
        first = results[0]
        print(f"| {config.stem} | {first.metric} | **{mean:.4f}** | {shown} | {first.rows} | {seconds:.0f} |", flush=True)
    return 0


@dataclass(frozen=True)
class Result:
    """The headline of one run: a metric of the test rows, or its mean over folds, with their deviation in `shown`."""

    metric: str
    value: float
    rows: int
    shown: str


def measure(config: Path, word: str, folder: Path, *, folds: int | None) -> Result:
    """Train once in `folder`, and evaluate or cross-validate."""
    stage = (
        ["train", "--config", str(config), word, f"train.folds={folds}"]
        if folds
        else ["evaluate", "--config", str(config), word]
    )
    done = subprocess.run([sys.executable, "-m", "pipeline", *stage], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{config} {word}: exit {done.returncode}\n{done.stderr}")
    run = folder / "runs" / "latest"
    if folds:
        metrics = json.loads((run / "train" / "manifest.json").read_text())["metrics"]
        metric = "accuracy" if "cv/accuracy" in metrics else "rmse"
        value, deviation = metrics[f"cv/{metric}"], metrics[f"cv/{metric}.std"]
        rows = sum(json.loads(line)["rows"] for line in (run / "train" / "folds.jsonl").read_text().splitlines())
        return Result(metric, value, rows, f"{value:.4f} ± {deviation:.4f}")
    found = json.loads((run / "evaluate" / "metrics.json").read_text())
    metric = "accuracy" if "accuracy" in found["metrics"] else "rmse"
    value = found["metrics"][metric]["value"]
    return Result(metric, value, found["rows"], f"{value:.4f}")


if __name__ == "__main__":
    sys.exit(main())
