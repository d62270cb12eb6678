"""What the ledger tells is exactly what was recorded, in valid exposition text, however it was recorded."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.bundle import Bundle
from serving.facts import Limits, ModelFacts
from serving.telemetry import Entry, Ledger
from serving.telemetry.catalog import CATALOG, ROWS, SECONDS
from serving.telemetry.entry import PHASES

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
DIGEST = "a" * 64


def entry(**changes: Any) -> Entry:
    given: dict[str, Any] = {
        "protocol": "predict", "status": 200, "model": DIGEST, "rows": 1, "read": 0.001, "decode": 0.002, "queue": 0.0,
        "compute": 0.003, "encode": 0.001, "total": 0.007, "batch": 1, "id": "one", "at": time.time(),
    }  # fmt: skip
    return Entry(**(given | changes))


def samples_of(ledger: Ledger) -> Samples:
    """Every sample of the exposition by name and labels; a series that is there twice is a fault."""
    found: Samples = {}
    for family in text_string_to_metric_families(ledger.text().decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(ledger: Ledger, name: str, **labels: str) -> float:
    return samples_of(ledger)[name, tuple(sorted(labels.items()))]


def many(count: int, seed: int = 0) -> list[Entry]:
    """Random entries of whole batches: answered, refused, and no requests to a model."""
    random, found = np.random.default_rng(seed), []
    for number in range(count):
        times = dict(zip((*PHASES, "total"), random.exponential(0.01, 6).tolist(), strict=True))
        match number % 4:
            case 0:
                rows = int(random.integers(1, 40))
                found.append(entry(rows=rows, batch=rows, protocol="v2", **times))
            case 1:
                found += [entry(rows=1, batch=8, **times)] * 8
            case 2:
                found.append(entry(status=503, rows=0, batch=0, reason="overloaded", model="", **times))
            case _:
                found.append(entry(protocol="other", rows=0, batch=0, model="", **times))
    return found


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger(shared=None, log=None)
    yield made
    made.close()


@pytest.fixture
def facts(table_bundle: Path) -> ModelFacts:
    return ModelFacts.of(Bundle(table_bundle), Limits())


def test_counters_and_sums_are_those_that_numpy_finds(ledger: Ledger) -> None:
    entries = many(2000)
    for each in entries:
        ledger.record(each)
    found = samples_of(ledger)
    answered = [each for each in entries if each.rows]
    model = (("model", DIGEST[:12]),)
    assert found["slipway_rows_total", model] == sum(each.rows for each in answered)
    assert found["slipway_requests_total", (*model, ("protocol", "predict"), ("status", "200"))] == 500 * 8
    assert found["slipway_requests_total", (("model", ""), ("protocol", "predict"), ("status", "503"))] == 500
    assert found["slipway_rejections_total", (("reason", "overloaded"),)] == 500
    totals = np.array([each.total for each in entries if each.protocol == "predict"])
    assert found["slipway_request_duration_seconds_sum", (("protocol", "predict"),)] == pytest.approx(totals.sum())
    computes = np.array([each.compute for each in entries if each.protocol != "other"])
    assert found["slipway_phase_duration_seconds_sum", (("phase", "compute"),)] == pytest.approx(computes.sum())
    assert found["slipway_phase_duration_seconds_count", (("phase", "compute"),)] == len(computes)


def test_a_bucket_counts_what_is_at_most_its_edge(ledger: Ledger) -> None:
    seconds = [0.0, 0.0001, 0.00011, 0.5, 0.50001, 10.0, 11.0]
    for each in seconds:
        ledger.record(entry(total=each))
    found = samples_of(ledger)
    for edge in SECONDS:
        labels = (("le", str(edge)), ("protocol", "predict"))
        assert found["slipway_request_duration_seconds_bucket", labels] == sum(each <= edge for each in seconds)
    assert found["slipway_request_duration_seconds_bucket", (("le", "+Inf"), ("protocol", "predict"))] == len(seconds)


def test_the_requests_of_a_batch_are_one_batch(ledger: Ledger) -> None:
    for _ in range(3):  # 3 batches of 7 requests with 3 rows each: shares of 1/7 add up
        for _ in range(7):
            ledger.record(entry(rows=3, batch=21))
    ledger.record(entry(rows=2, batch=2))
    found = samples_of(ledger)
    assert found["slipway_batch_rows_count", ()] == 4
    assert found["slipway_batch_rows_sum", ()] == 65
    assert found["slipway_batch_rows_bucket", (("le", "16.0"),)] == 1
    assert found["slipway_batch_rows_bucket", (("le", "32.0"),)] == 4
    assert 16 in ROWS
    assert 32 in ROWS


def test_a_refused_request_is_in_no_phase_that_it_did_not_reach(ledger: Ledger) -> None:
    ledger.record(entry(rows=4, batch=0, decode=0.5, compute=0.0, encode=0.0, status=400, reason="invalid_input"))
    ledger.record(entry(queue=0.0))
    found = samples_of(ledger)
    counts = {phase: found["slipway_phase_duration_seconds_count", (("phase", phase),)] for phase in PHASES}
    assert counts == {"read": 2, "decode": 2, "queue": 1, "compute": 1, "encode": 1}
    assert found["slipway_rows_total", (("model", DIGEST[:12]),)] == 1


def test_triton_dashboards_find_their_names(ledger: Ledger, facts: ModelFacts) -> None:
    ledger.watch({"live": (facts, {"rows": 0})})
    for _ in range(4):
        ledger.record(entry(model=facts.digest, rows=2, batch=8, queue=0.25))
    refused = {"overloaded": 503, "deadline_exceeded": 504, "invalid_input": 400, "internal_server_error": 500}
    for reason, status in refused.items():
        ledger.record(entry(model="", rows=0, batch=0, reason=reason, status=status))
    found = samples_of(ledger)
    labels = (("model", "tiny"), ("version", "1"))
    assert found["nv_inference_request_success", labels] == 4
    assert (found["nv_inference_count", labels], found["nv_inference_exec_count", labels]) == (8, 1)
    assert found["nv_inference_queue_duration_us", labels] == pytest.approx(1e6)
    assert found["nv_inference_compute_infer_duration_us", labels] == pytest.approx(12_000)
    reasons = {dict(key)["reason"] for name, key in found if name == "nv_inference_request_failure"}
    assert reasons == {"REJECTED", "CANCELED", "OTHER", "BACKEND"}
    stats = ledger.statistics(facts.digest)
    assert (stats["name"], stats["version"], stats["inference_count"], stats["execution_count"]) == ("tiny", "1", 8, 1)
    assert stats["inference_stats"]["queue"] == {"count": 4, "ns": 1_000_000_000}
    assert stats["inference_stats"]["fail"]["count"] == 4


def test_what_a_shadow_answers_is_no_request(ledger: Ledger) -> None:
    ledger.record(entry(role="shadow"))
    ledger.record(entry())
    assert value(ledger, "slipway_rows_total", model=DIGEST[:12]) == 1


def test_the_text_is_valid_and_names_every_metric_before_any_request(ledger: Ledger) -> None:
    text = ledger.text().decode()
    described = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert described == set(CATALOG)
    assert len(described) > 30
    assert all(name.endswith("_total") for name, known in CATALOG.items() if known.kind == "counter")
    assert value(ledger, "process_start_time_seconds") == pytest.approx(time.time(), abs=60)


def test_histograms_are_cumulative_and_end_in_their_count(ledger: Ledger) -> None:
    for each in many(400):
        ledger.record(each)
    series: dict[Any, list[float]] = {}
    for (name, labels), amount in samples_of(ledger).items():
        if name.endswith("_bucket"):
            series.setdefault((name, tuple(pair for pair in labels if pair[0] != "le")), []).append(amount)
    found = samples_of(ledger)
    assert len(series) == 3 + len(PHASES) + 1  # protocols, phases, batches
    for (name, labels), buckets in series.items():
        assert buckets == sorted(buckets)
        assert buckets[-1] == found[name.replace("_bucket", "_count"), labels]


def test_labels_of_any_text_survive_the_exposition(ledger: Ledger) -> None:
    ledger.count("slipway_swaps_total", {"result": 'a "quoted"\n\\ größe'}, 3)
    assert value(ledger, "slipway_swaps_total", result='a "quoted"\n\\ größe') == 3


def test_rare_events_gauges_and_differences_below_zero_are_told(ledger: Ledger) -> None:
    depth = [5.0]
    ledger.gauge("slipway_queue_rows", lambda: depth[0])
    for seconds in (-0.02, 0.0, 0.02):
        ledger.observe("slipway_shadow_latency_difference_seconds", {}, seconds)
    assert value(ledger, "slipway_queue_rows") == 5
    depth[0] = 7
    assert value(ledger, "slipway_queue_rows") == 7
    assert value(ledger, "slipway_shadow_latency_difference_seconds_bucket", le="0.0") == 2


def test_a_gauge_that_fails_takes_no_other_metric_with_it(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    ledger.gauge("slipway_ready", lambda: 1 / 0)
    ledger.gauge("slipway_in_flight", lambda: 2)
    assert value(ledger, "slipway_in_flight") == 2
    ledger.text()
    assert [record.getMessage() for record in caplog.records].count("telemetry: the gauge slipway_ready cannot be read") == 1


def test_a_flood_of_label_values_is_counted_as_other(ledger: Ledger) -> None:
    for number in range(5000):
        ledger.count("slipway_swaps_total", {"result": str(number)})
    found = {labels: amount for (name, labels), amount in samples_of(ledger).items() if name == "slipway_swaps_total"}
    assert len(found) == 2001
    assert found[("result", "other"),] == 3000


def test_an_entry_that_cannot_be_counted_costs_itself_alone(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    for at in (0.0, float("nan"), 0.0, float("inf"), 0.0):
        ledger.record(entry(at=at))
    assert value(ledger, "slipway_telemetry_errors_total", part="tally") == 2
    assert value(ledger, "slipway_rows_total", model=DIGEST[:12]) == 3
    assert len(caplog.records) == 1


def test_recording_from_many_threads_during_flushes_and_scrapes_loses_nothing() -> None:
    ledger = Ledger(shared=None, log=None)
    ledger.start()

    def record() -> None:
        for _ in range(4000):
            ledger.record(entry(total=0.5))

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(samples_of(ledger).get(("slipway_rows_total", (("model", DIGEST[:12]),)), 0.0))
    ledger.close()
    assert seen == sorted(seen)
    assert value(ledger, "slipway_request_duration_seconds_sum", protocol="predict") == 8000
    assert value(ledger, "slipway_request_duration_seconds_count", protocol="predict") == 16_000


def test_entries_are_counted_in_the_background_and_none_pile_up_without_it() -> None:
    ledger = Ledger(shared=None, log=None)
    for _ in range(5000):
        ledger.record(entry())
    assert len(ledger._waiting) < 4096
    ledger.start()
    deadline = time.monotonic() + 5
    while ledger._waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not ledger._waiting
    ledger.close()


def test_no_more_rows_are_kept_than_the_next_look_at_drift_needs(ledger: Ledger) -> None:
    kept = [entry(rows=50, inputs=np.zeros((50, 3), np.float32), outputs=np.zeros((50, 2), np.float32)) for _ in range(200)]
    for each in kept:
        ledger.record(each)
    assert 3900 < sum(each.rows for each in kept if each.inputs is not None) < 4100
    ledger.flush()
    late = entry(rows=1, inputs=np.zeros((1, 3), np.float32), outputs=np.zeros((1, 2), np.float32))
    ledger.record(late)
    assert late.inputs is not None


def test_the_summary_holds_the_last_minute(ledger: Ledger, facts: ModelFacts) -> None:
    ledger.watch({"live": (facts, {"rows": 0})})
    seconds = np.random.default_rng(0).lognormal(-6, 1, 3000)
    for each in seconds.tolist():
        ledger.record(entry(compute=each, rows=2, batch=4))
    ledger.record(entry(status=400, rows=0, batch=0, reason="invalid_input"))
    ledger.record(entry(protocol="other", rows=0, batch=0, model=""))
    ledger.record(entry(at=time.time() - 90))
    found = ledger.summary()
    window = found["window"]
    assert (window["requests"], window["others"], window["rows"]) == ({"200": 3000, "400": 1}, 1, 6000)
    assert window["batch_mean"] == 4
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert window["ms"]["compute"][name] == pytest.approx(1000 * np.quantile(seconds, q), rel=0.09)
    assert window["ms"]["queue"]["p99"] == 0
    assert (found["workers"], found["models"]) == (1, {"live": facts.identity})
    assert found["drift"][facts.digest]["state"] == "no reference"


def test_a_service_without_requests_has_a_summary(ledger: Ledger) -> None:
    window = ledger.summary()["window"]
    assert (window["requests"], window["rows"], window["batch_mean"], window["ms"]) == ({}, 0, None, {})


def test_models_that_are_loaded_are_told_by_role_and_go_when_they_are_unloaded(ledger: Ledger, facts: ModelFacts) -> None:
    ledger.watch({"live": (facts, {"rows": 0}), "canary": (facts, {"rows": 0})})
    roles = {dict(labels)["role"] for name, labels in samples_of(ledger) if name == "slipway_model_info"}
    assert roles == {"live", "canary"}
    ledger.watch({"live": (facts, {"rows": 0})})
    labels = {"name": "tiny", "version": "1", "digest": facts.digest[:12], "role": "live"}
    assert samples_of(ledger)["slipway_model_info", tuple(sorted(labels.items()))] == 1
    assert sum(name == "slipway_model_info" for name, _ in samples_of(ledger)) == 1
