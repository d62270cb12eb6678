"""A model as its codecs see it, and requests to them, without a server."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from serving.bundle import Artifact, Description, Lineage
from serving.columns import Encoder
from serving.exchange import Codec, Reply, Request
from serving.facts import Limits, ModelFacts
from serving.schema import Schema
from tests.serving.conftest import Array


def facts_of(schema: Schema, **limits: Any) -> ModelFacts:
    """A model of a schema that no file stands behind."""
    description = Description(
        format_version=1,
        name="tiny",
        version="7",
        created="2026-11-20T00:00:00Z",
        schema=schema,
        artifact=Artifact("model.onnx", "onnxruntime", "fp32"),
        lineage=Lineage("run", "d", "s", "c", "a"),
        metrics={},
        parity={},
        files={},
    )
    return ModelFacts(description, "a" * 64, None if schema.plain else Encoder(schema), Limits(**limits))


def request_of(body: Any, content_type: str | None = "application/json", **headers: str) -> Request:
    """A POST. body: bytes as they are, anything else as JSON, NaN included as Python and MLflow's clients write it."""
    sent: Mapping[str, str] = headers | ({} if content_type is None else {"content-type": content_type})
    return Request("POST", "/", "", sent.get, body if isinstance(body, bytes) else json.dumps(body).encode())


def rows_in(codec: Codec, body: Any, content_type: str | None = "application/json") -> Array:
    """The rows that a codec makes of a body."""
    rows = codec.parse(request_of(body, content_type)).rows
    assert rows.dtype == np.float32
    return rows


def body_of(reply: Reply) -> Any:
    """The JSON of a reply, which must be JSON to the letter."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(reply.body, parse_constant=refuse)


def bodies(words: list[str]) -> st.SearchStrategy[Any]:
    """Whatever JSON may hold, with keys and texts that mean something here and there, and often as keys of the whole."""
    leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3) | st.sampled_from(words)
    keys = st.sampled_from(words) | st.text(max_size=2)
    trees = st.recursive(
        leaves, lambda tree: st.lists(tree, max_size=3) | st.dictionaries(keys, tree, max_size=3), max_leaves=12
    )
    return trees | st.dictionaries(st.sampled_from(words), trees, max_size=3)
