"""The two models: the digits CNN of configs/digits.yaml, and a ResNet on digits enlarged to 3x32x32, both trained briefly.

How well they answer does not matter here, that all stacks give the same answers does.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.artifacts.networks import write_config
from benchmarks.serving.stacks import ROOT
from serving.bundle import Bundle
from serving.schema import Array

_WORDS = ("train.epochs=2", "export.formats=[onnx]")


def made(net: str, folder: Path) -> Path:
    """Train and export `net` (digits or resnet) in an empty folder; return its run. Ends with the reason where that fails."""
    folder.mkdir()
    (folder / "mlflow.yaml").write_text("tracking_uri: null\n")
    config = write_config(net, folder)
    if net == "resnet":
        _keep(folder / "digits32.npz", rows=300)
    command = [sys.executable, "-m", "pipeline", "export", "--config", str(config), *_WORDS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"bench-serving: {net} cannot be made: exit {done.returncode}\n{done.stderr[-1000:]}")
    return (folder / "runs" / "latest").resolve()


def _keep(path: Path, *, rows: int) -> None:
    with np.load(path) as arrays:
        few = {name: arrays[name][:rows] for name in arrays.files}
    np.savez(path, **few)


def bundle_of(run: Path) -> Path:
    """Return the bundle of a run's fp32 ONNX file; end where it is none."""
    folder = run / "export" / "bundle"
    artifact = Bundle(folder).description.artifact
    if (artifact.runtime, artifact.precision) != ("onnxruntime", "fp32"):
        sys.exit(f"bench-serving: {folder} holds {artifact.file}; all stacks need an fp32 ONNX file")
    return folder


def golden_rows(bundle: Path, count: int) -> tuple[Array, Array]:
    """Return rows (count, *shape) and what the evaluated model answered to them, (count, outputs)."""
    golden = Bundle(bundle).golden()
    if len(golden.inputs) < count:
        sys.exit(f"bench-serving: {bundle} has {len(golden.inputs)} golden requests; {count} are needed")
    return np.asarray(golden.inputs[:count], dtype=np.float32), np.asarray(golden.outputs[:count], dtype=np.float32)
