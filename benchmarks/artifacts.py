"""What pruning, 8 bits and ONNX Runtime give on two networks, and what the Predictor costs above a bare session.

    python -m benchmarks.artifacts [digits] [resnet] [--threads 1] [--set train.epochs=5 …]

Runs the pipeline itself, `python -m pipeline select`, in an empty folder that is deleted afterward: the digits CNN of
configs/digits.yaml, and a ResNet on the same digits enlarged to 3x32x32. Every ratio is of one sitting, in interleaved windows
(pipeline.measuring): times faster than the float model run by PyTorch, and than its ONNX file.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from sklearn.datasets import load_digits

from serving.bundle import Bundle
from serving.predictor import Predictor

ROOT = Path(__file__).resolve().parent.parent
FLOAT = "train-fp32.onnx"
# More validation rows than by default: one row lost of 270 bounds the drop by 1.2 points, of 719 by 0.5.
WORDS = ("export.variants=[train, prune]", "benchmark.batch_sizes=[1, 32]", "prepare.validation_fraction=0.4")
BUDGETS = {"digits": "select.max_bytes=100000", "resnet": "select.max_bytes=200000"}  # an eighth of the float checkpoint
RESNET = """\
data: {source: arrays, path: digits32.npz}
model: {name: resnet, channels: [64, 128], blocks: 1}
train: {epochs: 15, lr: 2e-3}
prune: {epochs: 15, lr: 2e-3}
"""


def main() -> int:
    """Print a Markdown table for each network."""
    parser = argparse.ArgumentParser(description="Ratios of every artifact against the float model, in one sitting.")
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(BUDGETS)}; default: all")
    parser.add_argument("--threads", type=int, default=1, help="inside one call of a model")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys that win over the config")
    options = parser.parse_args()
    if unknown := set(options.nets) - set(BUDGETS):
        parser.error(f"no such network: {', '.join(unknown)}; there are {', '.join(BUDGETS)}")
    for net in options.nets or BUDGETS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "mlflow.yaml").write_text("tracking_uri: null\n")
            started = time.perf_counter()
            run(write_config(net, folder), folder, [*WORDS, BUDGETS[net], f"benchmark.threads={options.threads}", *options.set])
            report(net, folder / "runs" / "latest", time.perf_counter() - started)
    return 0


def write_config(net: str, folder: Path) -> Path:
    """Return the config of a network; enlarge the digits where it needs that."""
    if net == "digits":
        return ROOT / "configs" / "digits.yaml"
    digits = load_digits()
    small = torch.from_numpy(digits.images.astype(np.float32)).unsqueeze(1)  # (rows, 1, 8, 8), values 0 to 16
    large = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    np.savez(folder / "digits32.npz", inputs=large.numpy(), targets=digits.target)
    (folder / "resnet.yaml").write_text(RESNET)
    return folder / "resnet.yaml"


def run(config: Path, folder: Path, words: Sequence[str]) -> None:
    """Prepare, train, prune, export, quantize, benchmark and select; end where a stage does."""
    command = [sys.executable, "-m", "pipeline", "select", "--config", str(config), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3}:  # 3: nothing fits, which the table shows, too
        sys.exit(f"{config.name}: exit {done.returncode}\n{done.stderr}")
    if done.returncode == 3:
        print(f"select refused:\n{done.stderr}")


def report(net: str, run_folder: Path, seconds: float) -> None:
    """Print the table of one run, and what the Predictor costs."""
    benchmark = json.loads((run_folder / "benchmark" / "benchmark.json").read_text())
    rows, conditions = benchmark["rows"], benchmark["conditions"]
    checkpoint = benchmark["baseline"]["bytes"]
    decision = run_folder / "select" / "decision.json"
    winner = json.loads(decision.read_text())["winner"] if decision.is_file() else None
    reference = next(row for row in rows if row["file"] == FLOAT)
    print(
        f"\n**{net}**: {benchmark['rows_scored']} validation rows, {conditions['cpu']}, {conditions['cores']} cores, threads "
        f"{benchmark['baseline']['threads']}, load {conditions['load_average']} to {conditions['load_average_after']}, "
        f"versions {conditions['versions']}; {seconds:.0f} s in all\n"
    )
    head = [
        "artifact",
        "accuracy",
        "drop at most",
        "p50 µs",
        "x eager, 1",
        "x eager, 32",
        "x ONNX float, 1",
        "x ONNX float, 32",
    ]
    head += ["bytes", "of checkpoint", "unstable"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for row in [benchmark["baseline"], *rows]:
        print(f"| {' | '.join(cells(row, reference, checkpoint, winner))} |")
    if winner is not None:
        overhead(run_folder / "select" / "bundle")


def cells(row: dict[str, Any], reference: dict[str, Any], checkpoint: int, winner: str | None) -> list[str]:
    """Return the cells of one row; the winner is bold."""
    name = f"**{row['file']}**" if row["file"] == winner else row["file"]
    if row["failed"]:
        return [name, f"failed: {row['failed'][:60]}", *[""] * 9]
    one, many = row["latency"]["times_faster"], at_32(row)
    against = [ratio(one, reference["latency"]["times_faster"]), ratio(many, at_32(reference))]
    shaky = ["1"] if row["latency"]["unstable"] else []
    shaky += [str(each["batch_size"]) for each in row["throughput"] if each["unstable"] and each["batch_size"] != 1]
    return [
        name,
        f"{row['metric']:.4f}",
        f"{row['drop']['bound']:.4f}",
        f"{row['latency']['p50_ms'] * 1e3:.1f}",
        ratio(one, 1.0),
        ratio(many, 1.0),
        *against,
        f"{row['bytes']:,}",
        f"1/{checkpoint / row['bytes']:.1f}",
        ", ".join(shaky),
    ]


def at_32(row: dict[str, Any]) -> float | None:
    """Return how many times faster than the float model a row is at batch 32."""
    found: list[float] = [each["times_faster"] for each in row["throughput"] if each["batch_size"] == 32]
    return found[0] if found else None


def ratio(value: float | None, reference: float | None) -> str:
    """Return a quotient to two digits, or nothing where there is none."""
    return "" if value is None or reference is None else f"{value / reference:.2f}"


def overhead(folder: Path) -> None:
    """Print what `Predictor.predict` takes above `InferenceSession.run` of the same file with the same settings."""
    bundle = Bundle(folder)
    if bundle.description.artifact.runtime != "onnxruntime":
        return
    predictor = Predictor.from_bundle(bundle)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(bundle.artifact(), options, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    for size in (1, 32):
        rows = np.zeros((size, *bundle.description.schema.shape), dtype=np.float32)
        calls: dict[str, Callable[[], Any]] = {
            "bare": lambda rows=rows: session.run(target, {source: rows}),  # type: ignore[misc]
            "predictor": lambda rows=rows: predictor.predict(rows),  # type: ignore[misc]
        }
        windows: dict[str, list[float]] = {"bare": [], "predictor": []}
        for _ in range(60):
            for name, call in calls.items():
                windows[name].append(median_us(call, 50.0))
        bare, whole = (statistics.median(windows[name]) for name in ("bare", "predictor"))
        allowed = f"at most {5 + 0.05 * bare:.1f}"
        print(f"\nPredictor at batch {size}: {whole:.1f} µs, bare session {bare:.1f} µs, {whole - bare:+.2f} ({allowed})")


def median_us(call: Callable[[], Any], window_ms: float) -> float:
    """Return the median microseconds of a call over a window."""
    times, end = [], time.perf_counter() + window_ms / 1e3
    while time.perf_counter() < end:
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3


if __name__ == "__main__":
    sys.exit(main())
