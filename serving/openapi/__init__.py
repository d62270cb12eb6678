"""`/openapi.json`: every route, described by OpenAPI 3.1 from what the model is, with examples that the model has answered.

document(facts, rows=golden.inputs[:2])

Serving.openapi.cells says what a value, a row and an answer are; .bodies what the protocols make of them; .routes which route
takes and gives which. Schemas say what is refused; what is merely unusual, such as a value outside the trained range, is told
in descriptions, and becomes a part of the schemas where the service runs in strict mode.
"""

from collections.abc import Sequence
from typing import Any

from serving.facts import ModelFacts
from serving.openapi import bodies, cells, routes

__all__ = ["document"]

_LARGEST = 64 * 2**10  # bytes of one row as JSON; examples of larger rows would make the document unreadable


def document(facts: ModelFacts, *, rows: Sequence[Any] = (), server: str = "/", keyed: bool = False) -> dict[str, Any]:
    """Return the description of a service, ready for JSON.

    rows: as clients send them to /predict under `inputs`, such as those of the golden requests; examples are made of them, and
    there are none where a row is larger than 64 KiB. server: the address that clients use. keyed: whether a key is asked for.
    """
    description, schema = facts.description, facts.schema
    usable = [row for row in rows if isinstance(row, list) and len(str(row)) <= _LARGEST]
    examples = bodies.Examples(schema, usable[:2])
    shown: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": description.name,
            "version": description.version,
            "description": _summary(facts),
        },
        "servers": [{"url": server}],
        "paths": routes.paths(facts, examples, keyed=keyed),
        "components": {
            "schemas": cells.schemas(facts) | bodies.schemas(facts),
            "parameters": routes.PARAMETERS,
            "headers": routes.HEADERS,
        },
        "tags": routes.TAGS,
    }
    if keyed:
        shown["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return shown


def _summary(facts: ModelFacts) -> str:
    schema, shape = facts.schema, " × ".join(str(length) for length in facts.schema.shape)
    rows = f"a table of {len(schema.features)} columns" if schema.features else f"images of {shape} numbers"
    return (
        f"A model for {schema.task}: takes {rows}, answers {schema.target}. "
        f"The file that answers has the sha256 {facts.digest}; every answer carries it."
    )
