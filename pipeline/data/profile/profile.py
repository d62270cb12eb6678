"""What the rows look like, as JSON: `report.json`, from which `report.html` is drawn.

    found = profile(subject, findings=findings, ignored=columns.ignored, duplicates={"exact": 12}, origin="sales.csv")
    found["columns"][0]["association"]      # {"method": "Spearman", "value": 0.81, "with": "price"}

Everything is measured on the encoded rows that training gets, of a large set on a sample (`sampled`).
"""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import SPLITS, Split
from pipeline.data.checks.subject import Subject
from pipeline.data.findings import Finding
from pipeline.data.profile.association import Variable, associate
from pipeline.data.profile.histogram import described, histogram, rounded
from pipeline.data.profile.images import images_profile
from pipeline.data.profile.target import target_profile
from serving.columns import UNSEEN
from serving.schema import Feature

_MOST_ROWS = 200_000  # of each split that are looked at
_TOP = 10  # categories that are named
_DAY_S = 86_400
_EPOCH = date(1970, 1, 1)
_DATES = ("minimum", "median", "mean", "maximum")
OTHERS = "(rare or unseen)"  # what code 0 stands for
Values = dict[Split, NDArray[np.float64]]  # (rows,) of each split


def profile(
    subject: Subject, *, findings: Iterable[Finding], ignored: dict[str, str], duplicates: dict[str, int], origin: str
) -> dict[str, Any]:
    """Return rows, checks, target and columns, ready for JSON: no NaN, no infinity.

    ignored: column -> why it is left out. duplicates: what was counted -> rows. Columns come strongest first: by their
    association with the target, those without one last.
    """
    told: list[dict[str, Any]] = [msgspec.json.decode(msgspec.json.encode(finding)) for finding in findings]
    inputs, targets = _sample(subject.inputs), _sample(subject.targets)
    variables = target_variables(subject, targets["train"])
    columns = [_column(feature, part, variables) for feature, part in _parts(subject, inputs)]
    columns.sort(key=lambda column: -abs(column["association"]["value"]) if column["association"] else 1)
    return {
        "origin": origin,
        "task": subject.schema.task,
        "kind": subject.schema.kind,
        "rows": {split: int(subject.counts[split]) for split in SPLITS},
        "sampled": {split: len(inputs[split]) for split in SPLITS},
        "checks": {verdict: sum(found["verdict"] == verdict for found in told) for verdict in ("FAIL", "WARN", "PASS")},
        "findings": told,
        "target": target_profile(subject.schema, targets),
        "columns": columns,
        "ignored": dict(ignored),
        "duplicates": {name: int(count) for name, count in duplicates.items()},
        "images": images_profile(inputs, next(iter(variables.values()))) if len(subject.schema.shape) > 1 else None,
    }


def target_variables(subject: Subject, train: NDArray[Any]) -> dict[str, Variable]:
    """Return each target of the train rows by its name."""
    schema = subject.schema
    wide = train.reshape(len(train), -1).astype(np.float64)
    names = {"multilabel": schema.classes, "regression": schema.targets}.get(schema.task, ()) or (schema.target,)
    return {name: Variable(values, schema.task != "regression") for name, values in zip(names, wide.T, strict=True)}


def _sample(arrays: dict[Split, NDArray[Any]]) -> dict[Split, NDArray[Any]]:
    """Return at most _MOST_ROWS rows of each split, evenly spread; the same ones for inputs and targets."""
    found = {}
    for split, rows in arrays.items():
        some = np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(np.int64) if len(rows) > _MOST_ROWS else slice(None)
        found[split] = rows[some]
    return found


def _parts(subject: Subject, inputs: dict[Split, NDArray[Any]]) -> Iterable[tuple[Feature, Values]]:
    """Yield each column of a table with its values; a date is its day with the time as a fraction. Images have none."""
    schema = subject.schema
    if len(schema.shape) > 1:
        return
    features = schema.features or tuple(Feature(str(i), schema.minimum, schema.maximum) for i in range(schema.shape[0]))
    at = 0
    for feature in features:
        values = {split: rows[:, at].astype(np.float64) for split, rows in inputs.items()}
        if feature.kind == "date":
            values = {split: days + inputs[split][:, at + 1] / _DAY_S for split, days in values.items()}
        at += feature.width
        yield feature, values


def _column(feature: Feature, values: Values, targets: dict[str, Variable]) -> dict[str, Any]:
    train = values["train"]
    found = {
        "name": feature.name,
        "kind": feature.kind,
        "missing": {split: rounded(np.isnan(part).mean()) if len(part) else 0.0 for split, part in values.items()},
        "association": _strongest(Variable(train, feature.kind in {"category", "boolean"}), targets),
    }
    if feature.kind in {"category", "boolean"}:
        return found | _categories(feature, values)
    there = train[~np.isnan(train)]
    numbers = described(there)
    if feature.kind == "date":
        days = described(np.floor(there))  # a time just before midnight is not rounded up
        numbers |= {name: _day(days[name]) for name in _DATES} | {"skew": None}
    return found | numbers | {"histogram": histogram(values)}


def _strongest(column: Variable, targets: dict[str, Variable]) -> dict[str, Any] | None:
    found = [(name, link) for name, target in targets.items() if (link := associate(column, target))]
    if not found:
        return None
    name, link = max(found, key=lambda pair: abs(pair[1].value))
    return {"method": link.method, "value": round(link.value, 4), "with": name}


def _categories(feature: Feature, values: Values) -> dict[str, Any]:
    """Return the most frequent categories of the train rows with their counts, and how many rows have none of the table's."""
    texts = feature.categories or ("false", "true")
    names = list(texts) if feature.kind == "boolean" else [OTHERS, *texts]
    counts = {
        split: np.bincount(part[~np.isnan(part)].astype(np.int64), minlength=len(names)) for split, part in values.items()
    }
    top = np.argsort(-counts["train"], kind="stable")[:_TOP].tolist()
    shown = [{"text": names[code]} | {split: int(counts[split][code]) for split in values} for code in top]
    found: dict[str, Any] = {
        "distinct": int((counts["train"] > 0).sum()),
        "top": [category for category in shown if any(category[split] for split in values)],
        "others": {split: int(counts[split].sum() - counts[split][top].sum()) for split in values},
    }
    if feature.kind == "category":
        found["unseen"] = {
            split: rounded(counts[split][UNSEEN] / max(1, counts[split].sum())) for split in ("validation", "test")
        }
    return found


def _day(days: float | None) -> str | None:
    return None if days is None else (_EPOCH + timedelta(days=int(np.floor(days)))).isoformat()
