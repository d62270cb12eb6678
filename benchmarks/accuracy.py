"""How good the shipped configs are: the test metric of each over several seeds on one split, or over several splits.

    python -m benchmarks.accuracy [--vary seed|prepare.split_seed] [--values 0 1 2] [configs/digits.yaml …]

Runs the pipeline itself, `python -m pipeline evaluate`, in an empty folder that is deleted afterward.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def main() -> int:
    """Print one Markdown row for each config."""
    parser = argparse.ArgumentParser(description="Test metric of the shipped configs over several seeds or splits.")
    parser.add_argument("configs", nargs="*", type=Path, default=[ROOT / "configs" / f"{name}.yaml" for name in SHIPPED])
    parser.add_argument("--vary", choices=["seed", "prepare.split_seed"], default="seed")
    parser.add_argument("--values", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    print(
        f"| config | metric | mean | each {options.vary} | test rows | seconds a run |\n|---|---|---|---|---|---|", flush=True
    )
    for config in options.configs:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            results = [measure(config.resolve(), f"{options.vary}={value}", Path(folder)) for value in options.values]
            seconds = (time.perf_counter() - started) / len(options.values)
        name = "accuracy" if "accuracy" in results[0]["metrics"] else "rmse"
        values = [result["metrics"][name]["value"] for result in results]
        shown = ", ".join(f"{value:.4f}" for value in values)
        print(
            f"| {config.stem} | {name} | **{statistics.mean(values):.4f}** | {shown} | {results[0]['rows']} | {seconds:.0f} |",
            flush=True,
        )
    return 0


def measure(config: Path, word: str, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Train and evaluate once in `folder` and return `metrics.json`."""
    command = [sys.executable, "-m", "pipeline", "evaluate", "--config", str(config), word]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{config} {word}: exit {done.returncode}\n{done.stderr}")
    found: dict[str, dict[str, dict[str, float]]] = json.loads((folder / "runs/latest/evaluate/metrics.json").read_text())
    return found


if __name__ == "__main__":
    sys.exit(main())
