"""The ledger of a worker: a request costs it one append; everything else happens a moment later, in the background.

ledger = Ledger(shared=folder, log=RequestLog(Path("requests.jsonl")))
ledger.watch({"live": (facts, reference)})
ledger.start()                                # after the fork
ledger.record(Entry(…))
ledger.text()                                 # for GET /metrics, summed over all workers
ledger.summary()                              # the last minute and drift
ledger.close()
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from serving.facts import ModelFacts
from serving.telemetry.attempts import Attempts
from serving.telemetry.drift import SLOT_S, SLOTS, Watch
from serving.telemetry.entry import Entry
from serving.telemetry.exposition import add_drift, text_of
from serving.telemetry.publisher import START, WORKERS, Publisher
from serving.telemetry.request_log import PIECE, RequestLog
from serving.telemetry.state import Labels, Merge, State, labels_of
from serving.telemetry.summary import WINDOW_S, last_minute, model_statistics
from serving.telemetry.tally import RECENT_S, tally, value_counts
from serving.telemetry.untraced import Untraced

FLUSH_S = 0.25
FLUSH_ENTRIES = 4096  # that wait: do not wait for the quarter of a second to pass

_MOST_ENTRIES = 16 * FLUSH_ENTRIES  # that wait: from here on who records must flush, so that memory is bounded
_CHUNK = 512  # entries that are counted in one go: requests wait for the interpreter meanwhile
_REST_S, _RESTING = 0.002, 0.5  # after each piece at most, and of the time between flushes: the background must keep up
_HELD_VALUES, _HELD_ROWS = 4_000_000, 4000  # of inputs that are kept for drift between two looks; 16 MB
_PER_ROW = _HELD_VALUES // _HELD_ROWS


class Ledger:
    """What one worker counts, and the way to what all of them counted. Every method may be called from any thread."""

    def __init__(
        self,
        *,
        shared: Path | None,
        log: RequestLog | None = None,
        traces: Untraced | None = None,
        drift_share: float = 0.01,
        slot_s: float = SLOT_S,
        slots: int = SLOTS,
    ) -> None:
        """Start at zero.

        shared: folder in which the snapshots of all workers lie; None: this process is the only one. log: where each request
        is written down. traces: where its spans go. drift_share: of one core's time, at most, that drift may take. slot_s,
        slots: its sliding window. Raises OSError where `shared` cannot be written.
        """
        self._waiting: deque[Entry] = deque()
        self._rare: deque[tuple[str, Labels, float, bool]] = deque()
        self._held = 0
        self._lock = threading.Lock()  # of everything below
        self._state = State()
        self._models: dict[str, ModelFacts] = {}  # by role
        self._names: dict[str, tuple[str, str]] = {}  # name and version by digest, also of models that are gone
        self._watch = Watch(share=drift_share, slot_s=slot_s, slots=slots)
        self._log = log
        self._traces = traces or Untraced()
        self._started = time.time()
        self._publisher = Publisher(shared)
        self._attempt = Attempts(self._state)
        self._thread: threading.Thread | None = None
        self._wake, self._ending = threading.Event(), False
        self.count("slipway_log_lines_lost_total", {}, 0)
        with self._lock:
            self._drain()
            self._publish(force=True)

    def record(self, entry: Entry) -> None:
        """Note a request whose reply has left. The only method that a request pays for."""
        inputs = entry.inputs
        if inputs is not None:
            if self._held < _HELD_VALUES:
                self._held += inputs.size + _PER_ROW * entry.rows
            else:
                entry.inputs = entry.outputs = None
        waiting = self._waiting
        waiting.append(entry)
        if len(waiting) >= FLUSH_ENTRIES:
            self._full(len(waiting))

    def count(self, name: str, labels: dict[str, str], amount: float = 1) -> None:
        """Add to a counter of something that is rarer than requests."""
        self._rare.append((name, labels_of(labels), amount, False))

    def observe(self, name: str, labels: dict[str, str], value: float) -> None:
        """Add a value to a histogram, with the buckets of the catalog."""
        self._rare.append((name, labels_of(labels), value, True))

    def gauge(self, name: str, read: Callable[[], float], labels: dict[str, str] | None = None, merge: Merge = "sum") -> None:
        """Call `read` whenever the value is wanted. merge: what becomes of the workers' values."""
        self._publisher.gauge(name, labels_of(labels), read, merge)

    def watch(self, models: Mapping[str, tuple[ModelFacts, dict[str, Any]]]) -> None:
        """Say which models are loaded, by role, each with its reference.json; their drift is watched, no other's."""
        with self._lock:
            self._models = {role: facts for role, (facts, _) in models.items()}
            self._names |= {
                facts.digest: (facts.description.name, facts.description.version) for facts in self._models.values()
            }
            self._watch.models({facts.digest: (facts.schema, reference) for facts, reference in models.values()})
            self._publisher.models({role: facts.identity for role, facts in self._models.items()})

    def start(self) -> None:
        """Flush in the background from now on. Call it after the fork: threads do not survive one."""
        self._attempt("traces", partial(self._traces.start, self.count))
        self._thread = threading.Thread(target=self._run, name="slipway-telemetry", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Count what waits, write the request log, and publish what is due."""
        with self._lock:
            self._drain()
            self._publish(force=False)

    def text(self) -> bytes:
        """Return the Prometheus exposition, summed over all workers."""
        with self._lock:
            total = self._total()
            add_drift(total, self._watch.tables(total, time.time()))
            return text_of(total)

    def summary(self) -> dict[str, Any]:
        """Return {"window": `last_minute` of all workers, "workers", "models" by role, "drift": `drift_of` by digest}."""
        with self._lock:
            total, now = self._total(), time.time()
            return {
                "window": last_minute(total, now, min(self._started, total.gauges[START][()][0])),
                "workers": int(total.gauges[WORKERS][()][0]),
                "models": {role: facts.identity for role, facts in self._models.items()},
                "drift": self._watch.tables(total, now),
            }

    def statistics(self, digest: str) -> dict[str, Any]:
        """Return one entry of `model_stats` as Triton's statistics extension has it, of all workers since start."""
        with self._lock:
            return model_statistics(self._total(), *self._names.get(digest, (digest, "")))

    def close(self) -> None:
        """Stop the thread, count and publish what is left. What is recorded later is lost; closing twice is closing once."""
        if self._ending:
            return
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._drain()
            self._traces.close()
            self._publish(force=True)
            self._publisher.close()
            if self._log is not None:
                self._log.close()

    def _full(self, waiting: int) -> None:
        if self._thread is None or waiting >= _MOST_ENTRIES:
            self.flush()
        else:
            self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._drain_gently()
            with self._lock:
                self._drain_rare(_REST_S)
                self._publish(force=False)

    def _total(self) -> State:
        self._drain()
        # What is told is what others read, too: a worker that told fresher counts of its own than its neighbors know of it
        # would make sums go down when the next scrape meets a neighbor.
        self._publish(force=True)
        return self._publisher.total(self._state)

    def _drain_gently(self) -> None:
        """Count what waits now, a little at a time, so that no request waits for much of it."""
        left = len(self._waiting)
        rest_s = min(_REST_S, _RESTING * FLUSH_S * PIECE / max(1, left))
        while left > 0 and not self._ending:
            with self._lock:  # not for all of it: who asks for metrics waits no longer than for one chunk
                left -= self._drain_chunk(left, rest_s)
            time.sleep(rest_s)

    def _drain(self) -> None:
        """Count all that waits now."""
        left = len(self._waiting)
        while left > 0:
            left -= self._drain_chunk(left)
        self._drain_rare()

    def _drain_rare(self, rest_s: float = 0.0) -> None:
        for _ in range(len(self._rare)):
            name, labels, value, observed = self._rare.popleft()
            if observed:
                self._state.observe(name, labels, value_counts(name, [value]))
            else:
                self._state.count(name, labels, value)
        self._attempt("drift", partial(self._look, rest_s))

    def _drain_chunk(self, most: int, rest_s: float = 0.0) -> int:
        """Count some of what waits, and return how many at most. rest_s: how long others may run between pieces."""
        chunk = [self._waiting.popleft() for _ in range(min(most, len(self._waiting), _CHUNK))]
        self._attempt("tally", partial(self._count_chunk, chunk, rest_s))
        self._attempt("log", partial(self._write, chunk, rest_s))
        self._attempt("traces", partial(self._traces.write, chunk, self._names))
        return _CHUNK

    def _count_chunk(self, entries: list[Entry], rest_s: float = 0.0) -> None:
        live, part, breathe = self._models.get("live"), State(), partial(time.sleep, rest_s)
        try:
            tally(entries, part, self._names, "" if live is None else live.digest, breathe=breathe)
        except Exception:  # whatever is wrong with one of them: the others are counted
            if len(entries) == 1:
                raise
            for entry in entries:
                self._attempt("tally", partial(self._count_chunk, [entry]))
            return
        breathe()
        self._state.add(part)
        for entry in entries:
            self._watch.hold(entry)
        self._publisher.changed = True

    def _write(self, entries: list[Entry], rest_s: float) -> None:
        if self._log is not None:
            lost = self._log.write(entries, breathe=partial(time.sleep, rest_s))
            self._state.count("slipway_log_lines_lost_total", (), lost)

    def _look(self, rest_s: float) -> None:
        if self._watch.sample(self._state, time.time(), breathe=partial(time.sleep, rest_s)):
            self._held = 0

    def _publish(self, *, force: bool) -> None:
        now = time.time()
        oldest = {"recent": int((now - WINDOW_S) // RECENT_S), "drift": self._watch.oldest(now)}
        self._attempt("snapshot", partial(self._publisher.publish, self._state, force=force, **oldest))
