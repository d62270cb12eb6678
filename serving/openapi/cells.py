"""What a value, a row and an answer are, as JSON Schema.

schemas(facts)      # {"Row": …, "Record": …, "Columns": …, "Answer": …, "Scored": …, "Model": …}
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from serving.columns import fold, text_of
from serving.facts import ModelFacts
from serving.schema import Feature, Schema

_TOO_LARGE = float(2**128 - 2**103)  # the least number that 32-bit floating point rounds to infinity
_SHOWN = 20  # categories that a description lists
_DIRECTIVES = {  # of strptime, each as the digits that it takes
    "%Y": "[12][0-9]{3}",
    "%m": "(0[1-9]|1[0-2])",
    "%d": "(0[1-9]|[12][0-9]|3[01])",
    "%H": "([01][0-9]|2[0-3])",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%y": "[0-9]{2}",
}


def schemas(facts: ModelFacts) -> dict[str, Any]:
    """Return the schemas that depend on nothing but the model."""
    schema = facts.schema
    found: dict[str, Any] = {"Row": _row(facts), "Answer": _answer(schema), "Scored": _scored(schema), "Model": _model()}
    if schema.features:
        cells = {feature.name: _cell(feature, strict=facts.limits.strict) for feature in schema.features}
        unused: dict[str, Any] = {name: {"description": "Not used; dropped."} for name in schema.unused if name not in cells}
        required = [feature.name for feature in schema.features if not feature.nullable]
        found["Record"] = _object(cells | unused, required)
        columns = {name: {"type": "array", "minItems": 1, "items": cell} for name, cell in cells.items()}
        found["Columns"] = _object(columns | unused, required)
        found["Columns"]["description"] = "An array for each feature, all of the same length: one value for each row."
    return found


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _row(facts: ModelFacts) -> dict[str, Any]:
    schema, strict = facts.schema, facts.limits.strict
    if schema.features:
        cells = [_cell(feature, strict=strict) for feature in schema.features]
        count = len(cells)
        return {"type": "array", "prefixItems": cells, "items": False, "minItems": count, "maxItems": count}
    item: dict[str, Any] = _number(schema.minimum, schema.maximum, strict=strict)
    for length in reversed(schema.shape):
        item = {"type": "array", "items": item, "minItems": length, "maxItems": length}
    return item


def _number(minimum: float, maximum: float, *, strict: bool) -> dict[str, Any]:
    bounds = {"exclusiveMinimum": -_TOO_LARGE, "exclusiveMaximum": _TOO_LARGE}
    return {
        "type": "number",
        **({"minimum": minimum, "maximum": maximum} if strict else bounds),
        "description": f"Trained on {minimum:g} to {maximum:g}.",
        "examples": [minimum, maximum],
    }


def _cell(feature: Feature, *, strict: bool) -> dict[str, Any]:
    """Return what one cell may be."""
    match feature.kind:
        case "number":
            found = _number(feature.minimum, feature.maximum, strict=strict)
        case "boolean":
            found = {"enum": _truths(feature)}
        case "category":
            found = _category(feature, strict=strict)
        case "date":
            found = _date(feature)
    if feature.nullable:
        found["description"] = f"{found.get('description', '')} May be missing: null.".strip()
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
        else:
            kinds = found["type"]
            found["type"] = [*([kinds] if isinstance(kinds, str) else kinds), "null"]
    return found


def _truths(feature: Feature) -> list[Any]:
    """Return what a boolean column takes: JSON's own words where they have a meaning, the column's, and those as numbers."""
    words = feature.categories or ("false", "true")
    meanings = {fold(word) for word in words}
    plain = not meanings & {"false", "true"}
    truths: list[Any] = [truth for truth in (False, True) if plain or text_of(truth) in meanings]
    numbers = [int(word) for word in words if re.fullmatch(r"0|-?[1-9][0-9]{0,8}", word)]
    return [*truths, *(["false", "true"] if plain else []), *words, *numbers]


def _category(feature: Feature, *, strict: bool) -> dict[str, Any]:
    known = list(feature.categories)
    if strict:
        return {"type": "string", "enum": known}
    more = f", … ({len(known)} in all)" if len(known) > _SHOWN else ""
    return {
        "type": ["string", "number", "boolean"],
        "pattern": r"\S",  # a text of nothing but spaces is a missing value
        "description": f"Trained on {', '.join(known[:_SHOWN])}{more}; another one is taken as never seen.",
        "examples": known[:_SHOWN],
    }


def _date(feature: Feature) -> dict[str, Any]:
    days = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in (feature.minimum, feature.maximum)]
    form = feature.date_format
    shown = [day.strftime(form) if form else day.date().isoformat() for day in days]
    found: dict[str, Any] = {
        "type": "string",
        "description": f"A date in {form or 'ISO 8601'}. Trained on {shown[0]} to {shown[1]}.",
        "examples": shown,
    }
    if form is None:
        return found | {"format": "date"}
    parts = re.split("(%.)", form)
    if all(part in _DIRECTIVES for part in parts[1::2]):
        found["pattern"] = "^" + "".join(_DIRECTIVES.get(part) or re.escape(part) for part in parts) + "$"
    return found


def _answer(schema: Schema) -> dict[str, Any]:
    """Return what `/predict` answers for a row."""
    values = {"type": "number"}
    if schema.task == "regression":
        if schema.targets:
            return _object({"values": _object(dict.fromkeys(schema.targets, values), list(schema.targets))}, ["values"])
        return _object({"value": values}, ["value"])
    shares: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1.000001}}
    shares["description"] = "The probability of each class by its label."
    label = {"type": "string", "enum": list(schema.classes)}
    if schema.task == "multilabel":
        return _object({"labels": {"type": "array", "items": label}, "probabilities": shares}, ["labels", "probabilities"])
    score = {"type": "number", "description": "The probability of the label."}
    return _object({"label": label, "score": score, "probabilities": shares}, ["label", "score", "probabilities"])


def _scored(schema: Schema) -> dict[str, Any]:
    """Return what `/invocations` and `/v1` answer for a row: bare numbers for a regression of one target."""
    if schema.task != "regression":
        return {"$ref": "#/components/schemas/Answer"}
    if not schema.targets:
        return {"type": "number"}
    return _object({name: {"type": "number"} for name in schema.targets}, list(schema.targets))


def _model() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("name", "version", "digest")
    return _object(dict.fromkeys(names, text), list(names)) | {"description": "The model that answered."}
