"""The last minute over all workers, as people and pages read it, and what Triton's clients ask for at `/stats`."""

from typing import Any

import numpy as np

from serving.telemetry.entry import PHASES
from serving.telemetry.state import Labels, Recent, State, Vector
from serving.telemetry.tally import RECENT_S, ROWS, TIMES, WIDTH

WINDOW_S = 60
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NANOSECONDS = 1000  # of a microsecond


def last_minute(state: State, now: float, started: float) -> dict[str, Any]:
    """Return requests by status, rows, milliseconds by phase and the mean batch of the last minute.

    {"seconds": covered, "requests": {"200": n}, "others": pages and health checks, "requests_per_second", "rows",
    "rows_per_second", "batch_mean" or None, "ms": {phase or "total": {"p50", "p95", "p99"}}}; `ms` holds answered requests
    only, and nothing where there were none. A quantile is within 8 % of the exact one.
    """
    first = int((now - WINDOW_S) // RECENT_S) + 1
    slots = [recent for slot, recent in state.recent.items() if slot >= first]
    total = State(recent={})
    for recent in slots:
        total.add(State(recent={0: recent}))
    whole = total.recent.get(0) or Recent(np.zeros(ROWS * WIDTH))
    seconds = max(1.0, min(now - first * RECENT_S, now - started))
    requests = sum(whole.statuses.values())
    return {
        "seconds": round(seconds, 1),
        "requests": {status: int(count) for status, count in sorted(whole.statuses.items())},
        "others": int(whole.others),
        "requests_per_second": round(requests / seconds, 2),
        "rows": int(whole.rows),
        "rows_per_second": round(whole.rows / seconds, 2),
        "batch_mean": round(whole.batched / whole.batches, 2) if whole.batches else None,
        "ms": _milliseconds(whole.seconds.reshape(ROWS, WIDTH)),
    }


def model_statistics(state: State, name: str, version: str) -> dict[str, Any]:
    """Return one entry of `model_stats` as Triton's statistics extension has it, of all workers since start."""
    labels: Labels = (("model", name), ("version", version))

    def total(metric: str) -> int:
        return round(state.counters.get(metric, {}).get(labels, 0.0))

    def lasting(metric: str, count: int) -> dict[str, int]:
        return {"count": count, "ns": total(metric) * _NANOSECONDS}

    success = total("nv_inference_request_success")
    failures = state.counters.get("nv_inference_request_failure", {})
    failed = sum(count for key, count in failures.items() if set(labels) <= set(key))
    none = {"count": 0, "ns": 0}
    return {
        "name": name,
        "version": version,
        "inference_count": total("nv_inference_count"),
        "execution_count": total("nv_inference_exec_count"),
        "inference_stats": {
            "success": lasting("nv_inference_request_duration_us", success),
            "fail": {"count": round(failed), "ns": 0},
            "queue": lasting("nv_inference_queue_duration_us", success),
            "compute_input": lasting("nv_inference_compute_input_duration_us", success),
            "compute_infer": lasting("nv_inference_compute_infer_duration_us", success),
            "compute_output": lasting("nv_inference_compute_output_duration_us", success),
            "cache_hit": none,
            "cache_miss": none,
        },
    }


def _milliseconds(counts: Vector) -> dict[str, dict[str, float]]:
    """Return quantiles by phase of (ROWS, WIDTH) durations by bucket of TIMES."""
    if not counts.sum():
        return {}
    names = (*PHASES, "total")
    return {name: {key: _quantile(row, q) for key, q in _QUANTILES.items()} for name, row in zip(names, counts, strict=True)}


def _quantile(counts: Vector, q: float) -> float:
    """Return milliseconds: the geometric middle of the bucket in which the quantile lies; 0 below a microsecond."""
    place = int(np.searchsorted(counts.cumsum(), q * counts.sum()))
    low, high = TIMES[max(0, place - 1)] if place else 0.0, TIMES[min(place, len(TIMES) - 1)]
    return float(f"{1000 * np.sqrt(low * high):.3g}")
