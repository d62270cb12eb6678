"""Every metric that the service exposes: base units, `_total` on counters, no ids, paths or texts of users in labels.

The names that begin with `nv_` are Triton's own (docs/user_guide/metrics.md there), in its units, so that dashboards made for
it show this service, too. They lack `_total`, so they are exposed as untyped; `rate()` does not mind.
"""

from dataclasses import dataclass
from typing import Literal

# Seconds. Finer than the client's defaults below 5 ms, where small models answer.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
DIFFERENCES = (*(-edge for edge in reversed(SECONDS)), 0.0, *SECONDS)

Kind = Literal["counter", "histogram", "gauge", "untyped"]
DIGITS = 12  # of a digest in a label


@dataclass(frozen=True, slots=True)
class Known:
    """A metric's kind, its help text, and the upper edges of its buckets if it is a histogram."""

    kind: Kind
    text: str
    edges: tuple[float, ...] = SECONDS


def _triton(what: str) -> Known:
    return Known("untyped", f"{what} (Triton's name and unit).")


CATALOG: dict[str, Known] = {
    "slipway_requests_total": Known("counter", "Requests by protocol, status and model."),
    "slipway_rows_total": Known("counter", "Rows that a model answered."),
    "slipway_request_duration_seconds": Known("histogram", "Time from a request's first byte to its encoded reply."),
    "slipway_phase_duration_seconds": Known("histogram", "Time that requests spent in each phase."),
    "slipway_batch_rows": Known("histogram", "Rows of each batch that the model computed.", ROWS),
    "slipway_rejections_total": Known("counter", "Requests without an answer, by reason."),
    "slipway_shadow_rows_total": Known("counter", "Rows that a shadow model computed too, by agreement with the live one."),
    "slipway_shadow_latency_difference_seconds": Known(
        "histogram", "Compute time of the shadow less that of the live model.", DIFFERENCES
    ),
    "slipway_in_flight": Known("gauge", "Requests being answered now."),
    "slipway_queue_rows": Known("gauge", "Rows that wait for the model now."),
    "slipway_ready": Known("gauge", "1 once golden requests passed, in every worker."),
    "slipway_workers": Known("gauge", "Worker processes that are alive."),
    "slipway_model_info": Known("gauge", "Models that are loaded, with their role."),
    "slipway_swaps_total": Known("counter", "Swaps of the model, by result."),
    "slipway_drift_rows": Known("gauge", "Rows of the window that the drift figures rest on."),
    "slipway_drift_psi": Known("gauge", "Population stability index of each input against the train rows, less its bias."),
    "slipway_drift_features": Known("gauge", "Inputs and predictions by state of drift."),
    "slipway_out_of_range_ratio": Known("gauge", "Share of values outside the range of the train rows."),
    "slipway_unseen_category_ratio": Known("gauge", "Share of values whose category no train row had."),
    "slipway_missing_ratio": Known("gauge", "Share of rows without a value."),
    "slipway_prediction_psi": Known("gauge", "Population stability index of the answers against those to the train rows."),
    "slipway_log_lines_lost_total": Known("counter", "Lines of the request log that could not be written."),
    "slipway_traces_lost_total": Known("counter", "Requests whose spans were left out, or reached no collector, by reason."),
    "slipway_telemetry_errors_total": Known("counter", "Faults inside the telemetry itself, by part."),
    "process_start_time_seconds": Known("gauge", "Start of the oldest worker, seconds since 1970."),
    "process_resident_memory_bytes": Known("gauge", "Resident memory of all workers."),
    "process_cpu_seconds_total": Known("counter", "Processor time of all workers."),
    "nv_inference_request_success": _triton("Requests that were answered"),
    "nv_inference_request_failure": _triton("Requests that were not answered, by reason"),
    "nv_inference_count": _triton("Rows that were computed"),
    "nv_inference_exec_count": _triton("Batches that were computed"),
    "nv_inference_request_duration_us": _triton("Microseconds of answered requests, summed"),
    "nv_inference_queue_duration_us": _triton("Microseconds that answered requests waited"),
    "nv_inference_compute_input_duration_us": _triton("Microseconds of decoding"),
    "nv_inference_compute_infer_duration_us": _triton("Microseconds inside the model"),
    "nv_inference_compute_output_duration_us": _triton("Microseconds of encoding"),
}


def known(name: str, fallback: Kind) -> Known:
    """Return what is known of a metric; one that is not in the catalog is of the kind that its first use had."""
    return CATALOG.get(name) or Known(fallback, "Not described.")
