"""What `Predictor.predict` takes above `InferenceSession.run` of the same file with the same settings."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from serving.bundle import Bundle
from serving.predictor import Predictor

_WINDOWS, _WINDOW_MS = 60, 50.0


@dataclass(frozen=True)
class Overhead:
    """Median microseconds of a call: of the bare session, and of the Predictor."""

    batch_size: int
    bare_us: float
    whole_us: float

    @property
    def added_us(self) -> float:
        """What the Predictor takes more."""
        return self.whole_us - self.bare_us

    @property
    def allowed_us(self) -> float:
        """What it may take more: 5 µs and 5 %."""
        return 5 + 0.05 * self.bare_us


def overheads(bundle: Bundle) -> list[Overhead]:
    """Return what a call costs at batch 1 and 32, in interleaved windows; nothing where the artifact is not of ONNX."""
    if bundle.description.artifact.runtime != "onnxruntime":
        return []
    predictor = Predictor.from_bundle(bundle)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(bundle.artifact(), options, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    found = []
    for size in (1, 32):
        rows = np.zeros((size, *bundle.description.schema.shape), dtype=np.float32)
        calls: dict[str, Callable[[], Any]] = {
            "bare": lambda rows=rows: session.run(target, {source: rows}),  # type: ignore[misc]
            "whole": lambda rows=rows: predictor.predict(rows),  # type: ignore[misc]
        }
        windows: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(_WINDOWS):
            for name, call in calls.items():
                windows[name].append(_median_us(call))
        found.append(Overhead(size, statistics.median(windows["bare"]), statistics.median(windows["whole"])))
    return found


def _median_us(call: Callable[[], Any]) -> float:
    """Return the median microseconds of a call over a window."""
    times, end = [], time.perf_counter() + _WINDOW_MS / 1e3
    while time.perf_counter() < end:
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1e3
