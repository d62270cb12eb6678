"""The Grafana dashboard asks for nothing that the service does not tell."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.exporting.reference import reference
from serving.bundle import Bundle
from serving.facts import Limits, ModelFacts
from serving.telemetry import Ledger
from tests.serving.conftest import make_bundle
from tests.serving.test_drift import TABLE, TRAIN, answers_of, rows_of, schema_of
from tests.serving.test_telemetry import entry, many, samples_of

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana" / "slipway.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
METRIC = re.compile(r"\b((?:slipway|process|nv)_[a-z_]+)\{")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Label names by metric, of a service that has seen everything: a model of a table, drift, a shadow, a swap, a fault."""
    schema = schema_of(TRAIN)
    facts = ModelFacts.of(Bundle(make_bundle(tmp_path_factory.mktemp("table") / "bundle", schema)), Limits())
    ledger = Ledger(shared=None, log=None, drift_share=1.0)
    ledger.watch({"live": (facts, reference(TRAIN, answers_of(TRAIN), TABLE))})
    rows = rows_of(400, np.random.default_rng(0))
    ledger.record(entry(model=facts.digest, rows=400, batch=400, inputs=rows, outputs=answers_of(rows)))
    for each in many(40):
        ledger.record(each)
    for name in ("slipway_in_flight", "slipway_queue_rows", "slipway_ready"):
        ledger.gauge(name, lambda: 1)
    ledger.count("slipway_swaps_total", {"result": "swapped"})
    ledger.count("slipway_shadow_rows_total", {"result": "agree"})
    ledger.observe("slipway_shadow_latency_difference_seconds", {}, 0.001)
    ledger.record(entry(at=float("nan")))
    found: dict[str, set[str]] = {}
    for name, labels in samples_of(ledger):
        found.setdefault(name, set()).update(label for label, _ in labels)
    yield found
    ledger.close()


def test_every_metric_of_the_dashboard_is_told(series: dict[str, set[str]]) -> None:
    asked = {name for query in QUERIES for name in METRIC.findall(query)}
    assert asked - series.keys() == set()
    assert len(asked) > 25


def test_every_label_that_it_groups_by_or_shows_is_there(series: dict[str, set[str]]) -> None:
    swept = 0
    for panel in PANELS:
        for target in panel["targets"]:
            known = set.union(*(series[name] for name in METRIC.findall(target["expr"]))) | {"job", "instance"}
            grouped = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
            chosen = set(re.findall(r"[{,]([a-z]+)=~?\"", target["expr"]))
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert grouped | chosen <= known, panel["title"]
            assert shown <= grouped, panel["title"]
            swept += len(grouped)
    assert swept > 30


def test_queries_are_balanced_and_rates_are_of_counters() -> None:
    for query in QUERIES:
        assert [query.count(mark) for mark in "({["] == [query.count(mark) for mark in ")}]"]
        for name in re.findall(r"(?:rate|increase)\((\w+)\{", query):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), name


def test_any_data_source_can_be_chosen() -> None:
    def sources(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield from ([value["datasource"]] if "datasource" in value else [])
            for each in value.values():
                yield from sources(each)
        elif isinstance(value, list):
            for each in value:
                yield from sources(each)

    found = list(sources(DASHBOARD))
    assert {source["uid"] for source in found} == {"${datasource}"}
    assert len(found) > 60
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & covered, panel["title"]
        assert place["x"] + place["w"] <= 24
        covered |= cells
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency by phase", "Batching and queue", "Rejections", "Drift", "Models and swaps"]


def test_drift_reaches_the_metrics_with_its_features(series: dict[str, set[str]]) -> None:
    assert series["slipway_drift_psi"] == {"feature", "model"}
    assert series["slipway_prediction_psi"] == {"model", "output"}
