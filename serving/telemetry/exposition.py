"""From counts to Prometheus' text format, through prometheus_client's own families and encoder."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from serving.telemetry.catalog import CATALOG, DIGITS, known
from serving.telemetry.state import Labels, State, Vector, labels_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MOST_FEATURES = 100  # of one model, those furthest from the train rows: a table of thousands would flood a Prometheus
_RATIOS = {
    "out_of_range": "slipway_out_of_range_ratio",
    "unseen": "slipway_unseen_category_ratio",
    "missing": "slipway_missing_ratio",
}


class Exposition(Collector):
    """A state as metric families: those of the catalog, with or without a value yet, then others by name."""

    def __init__(self, state: State) -> None:
        """Take the sum over all workers."""
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield each family."""
        for name in dict.fromkeys((*CATALOG, *sorted(self._state.series()))):
            if name in self._state.histograms or known(name, "counter").kind == "histogram":
                yield _histogram(name, self._state.histograms.get(name, {}))
            elif name in self._state.gauges or known(name, "counter").kind == "gauge":
                values = {labels: value for labels, (value, _) in self._state.gauges.get(name, {}).items()}
                yield _family(name, GaugeMetricFamily, values, known(name, "gauge").text)
            else:
                about = known(name, "counter")
                kind = UnknownMetricFamily if about.kind == "untyped" else CounterMetricFamily
                yield _family(name, kind, self._state.counters.get(name, {}), about.text)


def text_of(state: State) -> bytes:
    """Return the exposition text."""
    return generate_latest(Exposition(state))


def add_drift(state: State, tables: Mapping[str, dict[str, Any]]) -> None:
    """Add the drift tables, by digest, to a state as gauges."""
    for digest, table in tables.items():
        model = {"model": digest[:DIGITS]}
        _set(state, "slipway_drift_rows", model, table["rows"])
        rows = [*table["inputs"], *table["predictions"]]
        for level in ("ok", "shifting", "drifted"):
            _set(state, "slipway_drift_features", model | {"state": level}, sum(row["state"] == level for row in rows))
        for row in table["inputs"][:_MOST_FEATURES]:
            labels = model | {"feature": row["name"]}
            _set(state, "slipway_drift_psi", labels, row["psi"])
            for ratio, name in _RATIOS.items():
                if ratio in row:
                    _set(state, name, labels, row[ratio])
        for row in table["predictions"][:_MOST_FEATURES]:
            _set(state, "slipway_prediction_psi", model | {"output": row["name"]}, row["psi"])


def _set(state: State, name: str, labels: dict[str, str], value: float) -> None:
    state.gauges.setdefault(name, {})[labels_of(labels)] = (float(value), "max")


def _family(
    name: str,
    kind: type[CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily],
    series: Mapping[Labels, float],
    text: str,
) -> Metric:
    names = _names(series)
    family = kind(name, text, labels=names)
    for labels, value in series.items():
        # Shares of batches add up to whole numbers, but for the last bits.
        family.add_metric([dict(labels).get(each, "") for each in names], round(value, 6))
    return family


def _histogram(name: str, series: Mapping[Labels, Vector]) -> Metric:
    about, names = known(name, "histogram"), _names(series)
    family = HistogramMetricFamily(name, about.text, labels=names)
    edges = [floatToGoString(edge) for edge in (*about.edges, float("inf"))]
    for labels, counts in series.items():
        buckets = zip(edges, counts[:-1].cumsum().round(6).tolist(), strict=True)
        family.add_metric([dict(labels).get(each, "") for each in names], list(buckets), float(counts[-1]))
    return family


def _names(series: Mapping[Labels, Any]) -> list[str]:
    return sorted({name for labels in series for name, _ in labels})
