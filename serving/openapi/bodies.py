"""What each protocol takes and answers: schemas of bodies, and examples of them made of rows that the model has answered."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.columns import is_missing, text_of
from serving.facts import ModelFacts
from serving.protocols.open_inference.ports import inputs_of, outputs_of
from serving.schema import Feature, Schema

_DATATYPES = ["BOOL", "BYTES", "FP32", "FP64", *(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64))]


def ref(name: str) -> dict[str, str]:
    """Refer to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _rows(item: str) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": ref(item)}


def _object(properties: dict[str, Any], required: Sequence[str] | None = None, *, more: bool = False) -> dict[str, Any]:
    wanted = list(properties if required is None else required)
    return {"type": "object", "properties": properties, "required": wanted, "additionalProperties": more}


def _one_of(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    return kinds[0] if len(kinds) == 1 else {"oneOf": kinds}


def schemas(facts: ModelFacts) -> dict[str, Any]:
    """Return the schemas of requests, answers and errors."""
    schema, text, table = facts.schema, {"type": "string"}, bool(facts.schema.features)
    error = _object({"code": text, "message": text, "field": text}, ["code", "message"])
    native = [_object({"inputs": _rows("Row")})] + ([_object({"records": _rows("Record")})] if table else [])
    by_row = [_rows("Row")] + ([_rows("Record")] if table else [])
    answered = {"model": ref("Model")}
    options = {
        "parameters": {"type": ["object", "null"], "maxProperties": 0},
        "signature_name": {"enum": ["serving_default", "", None]},
    }
    by_column = by_row + ([ref("Columns")] if table else [])
    scored = {"type": "array", "items": ref("Scored")}
    return {
        "Error": _object({"error": error}),
        "MlflowError": _object({"error_code": text, "message": text}),
        "MessageError": _object({"error": text}),
        "PredictRequest": _one_of(native),
        "PredictResponse": _object({"predictions": {"type": "array", "items": ref("Answer")}} | answered),
        "InvocationsRequest": _one_of(_invocations(schema, by_row, by_column)),
        "InvocationsResponse": _object({"predictions": scored} | answered),
        "InstancesRequest": {
            "oneOf": [
                _object({"instances": _one_of(by_row)} | options, ["instances"]),
                _object({"inputs": _one_of(by_column)} | options, ["inputs"]),
            ]
        },
        "InstancesResponse": {
            "oneOf": [_object({"predictions": scored} | answered), _object({"outputs": scored} | answered)],
        },
        "InferRequest": _infer_request(schema),
        "InferResponse": _infer_response(schema),
        "Ready": _object({"status": {"const": "ready"}, "model": ref("Model")}),
        "NotReady": _object({"status": {"const": "not ready"}, "reason": {"type": ["string", "null"]}}),
    }


def _invocations(schema: Schema, by_row: list[dict[str, Any]], by_column: list[dict[str, Any]]) -> list[dict[str, Any]]:
    params = {"params": {"type": ["object", "null"], "maxProperties": 0, "description": "No model here takes any."}}
    forms: dict[str, Any] = {"instances": _one_of(by_row), "inputs": _one_of(by_column)}
    if schema.features:
        names = [feature.name for feature in schema.features]
        columns = {"const": names, "description": "Names of the columns; any order is taken, and so is none."}
        split = {"columns": columns, "data": _rows("Row"), "index": {"type": "array", "description": "A label for each row."}}
        forms = {"dataframe_split": _object(split, ["data"]), "dataframe_records": _rows("Record")} | forms
    return [_object({form: kind} | params, [form], more=True) for form, kind in forms.items()]


def _tensor(names: list[str], datatypes: list[str], required: list[str]) -> dict[str, Any]:
    properties = {
        "name": {"enum": names},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
        "datatype": {"enum": datatypes},
        "parameters": {"type": "object"},
        "data": {"type": "array", "description": "Nested or flat, in row-major order."},
    }
    return _object(properties, required, more=True)


def _infer_request(schema: Schema) -> dict[str, Any]:
    ports = inputs_of(schema)
    names = list(dict.fromkeys([*(port.name for port in ports), *(feature.name for feature in schema.features)]))
    told = ", ".join(f"{port.name} ({port.datatype}, {list(port.shape)})" for port in ports[:20])
    tensor = _tensor(names, _DATATYPES, ["name", "shape", "datatype"]) | {"description": f"Inputs: {told}. -1: the batch."}
    wanted = _object({"name": {"enum": [port.name for port in outputs_of(schema)]}, "parameters": {"type": "object"}}, ["name"])
    properties = {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "items": tensor},
        "outputs": {"type": "array", "items": wanted, "description": "Absent: all."},
    }
    return _object(properties, ["inputs"], more=True)


def _infer_response(schema: Schema) -> dict[str, Any]:
    ports = outputs_of(schema)
    names, datatypes = [port.name for port in ports], sorted({port.datatype for port in ports})
    properties = {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": _tensor(names, datatypes, ["name", "shape", "datatype"])},
    }
    return _object(properties, ["model_name", "outputs"], more=True)


class Examples:
    """Bodies of each protocol that hold the same rows: cells in the order of the features, or nested numbers."""

    def __init__(self, schema: Schema, rows: Sequence[list[Any]]) -> None:
        self._schema, self._rows = schema, list(rows)
        self._names = [feature.name for feature in schema.features]

    def predict(self) -> dict[str, Any]:
        """Return bodies of `/predict` by name."""
        return self._named(inputs={"inputs": self._rows}, records=self._names and {"records": self._records()})

    def invocations(self) -> dict[str, Any]:
        """Return bodies of `/invocations` by name."""
        split = {"columns": self._names, "data": self._rows, "index": list(range(len(self._rows)))}
        return self._named(
            dataframe_split=self._names and {"dataframe_split": split},
            dataframe_records=self._names and {"dataframe_records": self._records()},
            instances={"instances": self._rows},
            inputs={"inputs": self._columns() if self._names else self._rows},
        )

    def instances(self) -> dict[str, Any]:
        """Return bodies of `/v1/models/<name>:predict` by name."""
        return self._named(
            arrays={"instances": self._rows},
            objects=self._names and {"instances": self._records()},
            inputs={"inputs": self._columns() if self._names else self._rows},
        )

    def infer(self) -> dict[str, Any]:
        """Return bodies of `/v2/models/<name>/infer` by name; JSON has no missing number there, so none of rows with one."""
        schema = self._schema
        if schema.plain:
            data = np.asarray(self._rows, dtype=object).ravel().tolist()
            port = inputs_of(schema)[0]
            shape = [len(self._rows), *schema.shape]
            return self._named(
                tensor={"inputs": [{"name": port.name, "shape": shape, "datatype": port.datatype, "data": data}]}
            )
        numeric = [index for index, feature in enumerate(schema.features) if feature.kind == "number"]
        rows = [row for row in self._rows if not any(is_missing(row[index]) for index in numeric)]
        tensors = []
        for index, feature in enumerate(schema.features):
            cells = [row[index] for row in rows]
            kind, data = "BYTES", [_text(cell, feature) for cell in cells]
            if feature.kind == "number":
                kind, data = "FP64", cells
            tensors.append({"name": feature.name, "shape": [len(rows), 1], "datatype": kind, "data": data})
        return self._named(columns=rows and {"inputs": tensors})

    def csv(self) -> dict[str, Any]:
        """Return the same rows as a table of text, by name."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self._names)
        features = self._schema.features
        writer.writerows([_text(*pair) for pair in zip(row, features, strict=True)] for row in self._rows if features)
        return self._named(csv=self._names and file.getvalue())

    def _records(self) -> list[dict[str, Any]]:
        return [dict(zip(self._names, row, strict=True)) for row in self._rows]

    def _columns(self) -> dict[str, list[Any]]:
        return {name: [row[index] for row in self._rows] for index, name in enumerate(self._names)}

    def _named(self, **bodies: Any) -> dict[str, Any]:
        """Return the bodies that there are, as OpenAPI wants its examples."""
        return {name: {"value": body} for name, body in bodies.items() if body} if self._rows else {}


def _text(cell: Any, feature: Feature) -> str:
    if is_missing(cell):
        return ""
    if isinstance(cell, float) and feature.kind == "number":
        return repr(cell)
    text = text_of(cell)
    # A boolean is the category that is written alike, such as "True".
    alike = [known for known in feature.categories if isinstance(cell, bool) and known.casefold() == text]
    return alike[0] if len(alike) == 1 else text
