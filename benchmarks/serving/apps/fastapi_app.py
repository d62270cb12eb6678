# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator,no-untyped-call"
"""FastAPI as its documentation shows it: bodies and answers as pydantic models, the model inline in an async endpoint."""

import numpy as np
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from benchmarks.serving.apps.session import load

app = FastAPI()
_run = load()


class Rows(BaseModel):
    """A request."""

    inputs: list[list[list[float]]]


class Answer(BaseModel):
    """An answer."""

    outputs: list[list[float]]


@app.post("/predict")
async def predict(rows: Rows) -> Answer:
    """Answer JSON."""
    return Answer(outputs=_run(np.asarray(rows.inputs, dtype=np.float32)).tolist())


@app.post("/raw")
async def raw(request: Request) -> Response:
    """Answer raw float32 rows of (8, 8)."""
    rows = np.frombuffer(await request.body(), dtype=np.float32).reshape(-1, 8, 8)
    return Response(_run(rows).tobytes(), media_type="application/octet-stream")
