"""From a batch of entries to counts, with a few NumPy calls for all: what a request costs here is paid in the background."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.telemetry.catalog import CATALOG, DIGITS
from serving.telemetry.entry import PHASES, PREDICTING, Entry
from serving.telemetry.state import Labels, Recent, State, Vector

Mask = NDArray[np.bool_]  # (entries,)

RECENT_S = 5  # seconds of one slot of `State.recent`
# Seconds, 16 to a decade: a quantile read from them is within 8 % of the exact one.
TIMES = np.logspace(-6, 2, 8 * 16 + 1)
WIDTH = len(TIMES) + 1
ROWS = len(PHASES) + 1  # the phases, and the total

_MICROSECONDS = 1e6
_TRITON_SUMS = {
    "nv_inference_request_duration_us": 5,
    "nv_inference_queue_duration_us": 2,
    "nv_inference_compute_input_duration_us": 1,
    "nv_inference_compute_infer_duration_us": 3,
    "nv_inference_compute_output_duration_us": 4,
}
_REJECTED, _CANCELED = {"overloaded", "not_ready"}, {"deadline_exceeded"}


def tally(
    entries: Sequence[Entry],
    state: State,
    names: Mapping[str, tuple[str, str]],
    live: str,
    *,
    breathe: Callable[[], object] = lambda: None,
) -> None:
    """Add entries to `state`.

    names: name and version of a model by its digest. live: digest of the model that a request asked for if it names none. What
    a shadow answered was no client's request and is counted nowhere here. breathe: called every few hundred microseconds, to
    let requests in.
    """
    entries = [entry for entry in entries if entry.role != "shadow"]
    if not entries:
        return
    numbers = np.array([(e.read, e.decode, e.queue, e.compute, e.encode, e.total, e.rows, e.batch, e.at) for e in entries])
    times = numbers[:, :ROWS].clip(0)  # (entries, ROWS) seconds
    rows, batch, ended = numbers[:, ROWS:].T
    breathe()
    asked = np.array([entry.protocol in PREDICTING for entry in entries])
    answered = asked & np.array([entry.rows > 0 and not entry.reason for entry in entries])
    # An entry is its share of the batch that it was computed in: the entries of one batch add up to 1.
    shares = np.divide(rows, batch, out=np.zeros_like(rows), where=batch > 0)
    breathe()
    _requests(entries, state, times[:, -1])
    breathe()
    _phases(state, times, asked, answered)
    state.observe("slipway_batch_rows", (), _histogram("slipway_batch_rows", batch[batch > 0], shares[batch > 0]))
    breathe()
    digests = np.array([entry.model or (live if wanted else "") for entry, wanted in zip(entries, asked, strict=True)])
    for digest in sorted(set(digests.tolist()) - {""}):
        mask = digests == digest
        labels = _labels_of(digest, names)
        state.count("slipway_rows_total", (("model", digest[:DIGITS]),), float(rows[mask & answered].sum()))
        _triton(state, labels, times[mask & answered], rows[mask & (batch > 0)], shares[mask])
        failed = [entry for entry, here in zip(entries, mask & asked, strict=True) if here and entry.reason]
        for reason, count in Counter(map(_triton_reason, failed)).items():
            state.count("nv_inference_request_failure", _with(labels, "reason", reason), count)
    breathe()
    slots = (ended // RECENT_S).astype(np.int64)
    for slot in set(slots.tolist()):
        mask = slots == slot
        recent = _recent(entries, mask, times, asked, answered)
        recent.rows, recent.batches = float(rows[mask & answered].sum()), float(shares[mask].sum())
        recent.batched = float(rows[mask & (batch > 0)].sum())
        state.add(State(recent={slot: recent}))


def value_counts(name: str, values: Sequence[float]) -> Vector:
    """Return values as a histogram of the named metric: counts by bucket, then their sum."""
    found = np.array(values, dtype=np.float64)
    return _histogram(name, found, np.ones_like(found))


def _requests(entries: Sequence[Entry], state: State, totals: Vector) -> None:
    for (protocol, status, model), count in Counter((e.protocol, e.status, e.model) for e in entries).items():
        labels = (("model", model[:DIGITS]), ("protocol", protocol), ("status", str(status)))
        state.count("slipway_requests_total", labels, count)
    for reason, count in Counter(entry.reason for entry in entries if entry.reason).items():
        state.count("slipway_rejections_total", (("reason", reason),), count)
    protocols = np.array([entry.protocol for entry in entries])
    name = "slipway_request_duration_seconds"
    for protocol in set(protocols.tolist()):
        seconds = totals[protocols == protocol]
        state.observe(name, (("protocol", protocol),), _histogram(name, seconds, np.ones_like(seconds)))


def _phases(state: State, times: Vector, asked: Mask, answered: Mask) -> None:
    name = "slipway_phase_duration_seconds"
    for column, phase in enumerate(PHASES):
        # An answered request passed every phase, if in no time; a refused one only those that took time.
        seconds = times[answered | (asked & (times[:, column] > 0)), column]
        if seconds.size:
            state.observe(name, (("phase", phase),), _histogram(name, seconds, np.ones_like(seconds)))


def _triton(state: State, labels: Labels, times: Vector, computed: Vector, shares: Vector) -> None:
    state.count("nv_inference_request_success", labels, len(times))
    state.count("nv_inference_count", labels, float(computed.sum()))
    state.count("nv_inference_exec_count", labels, float(shares.sum()))
    for name, column in _TRITON_SUMS.items():
        state.count(name, labels, float(times[:, column].sum()) * _MICROSECONDS)


def _triton_reason(entry: Entry) -> str:
    if entry.reason in _REJECTED:
        return "REJECTED"
    if entry.reason in _CANCELED:
        return "CANCELED"
    return "BACKEND" if entry.status >= 500 else "OTHER"


def _labels_of(digest: str, names: Mapping[str, tuple[str, str]]) -> Labels:
    name, version = names.get(digest, (digest[:DIGITS], ""))
    return (("model", name), ("version", version))


def _with(labels: Labels, name: str, value: str) -> Labels:
    return tuple(sorted((*labels, (name, value))))


def _recent(entries: Sequence[Entry], mask: Mask, times: Vector, asked: Mask, answered: Mask) -> Recent:
    here = mask & answered
    places = np.searchsorted(TIMES, times[here]) + np.arange(ROWS) * WIDTH  # (answered, ROWS)
    seconds = np.bincount(places.ravel(), minlength=ROWS * WIDTH).astype(np.float64)
    statuses = Counter(str(e.status) for e, wanted in zip(entries, mask & asked, strict=True) if wanted)
    return Recent(seconds, {status: float(count) for status, count in statuses.items()}, others=float((mask & ~asked).sum()))


def _histogram(name: str, values: Vector, weights: Vector) -> Vector:
    """Return the weight in each bucket, whose upper edge belongs to it, the weight beyond the last, and the weighted sum."""
    edges = CATALOG[name].edges if name in CATALOG else CATALOG["slipway_request_duration_seconds"].edges
    places = np.searchsorted(edges, values, side="left")
    return np.append(np.bincount(places, weights, minlength=len(edges) + 1), (values * weights).sum())
