"""A shadow: a second model that is asked what the live one was asked, and whose answers are compared and never returned."""

import time
from concurrent.futures import Future
from functools import partial

import numpy as np

from serving.errors import Overloaded
from serving.fleet import Loaded
from serving.schema import Array, Schema
from serving.telemetry import Ledger
from serving.tickets import Ticket

_PATIENCE_S = 1.0  # a comparison that comes later than this is not worth its computing
_SAME_VALUE = 0.01  # two regressions agree within this share of the live model's value


def follow(shadow: Loaded, rows: Array, outputs: Array, seconds: float, ledger: Ledger) -> None:
    """Ask the shadow what the live model answered; a shadow that cannot keep up is not asked, and that is counted.

    rows: (batch, *shape). outputs: (batch, outputs) of the live model, which took `seconds` to compute them.
    """
    future: Future[Array] = Future()
    ticket = Ticket(rows, time.monotonic() + _PATIENCE_S, future)
    future.add_done_callback(partial(_compare, shadow, ticket, outputs, seconds, ledger))
    try:
        shadow.engine.submit(ticket)
    except Overloaded:
        _count(ledger, "skipped", len(rows))


def _compare(shadow: Loaded, ticket: Ticket, outputs: Array, seconds: float, ledger: Ledger, future: "Future[Array]") -> None:
    rows = len(outputs)
    if future.exception() is not None:
        _count(ledger, "failed", rows)
        return
    same = int(agreeing(outputs, future.result(), shadow.facts.schema).sum())
    _count(ledger, "agree", same)
    _count(ledger, "differ", rows - same)
    ledger.observe("slipway_shadow_latency_difference_seconds", {}, ticket.compute_s - seconds)


def agreeing(one: Array, other: Array, schema: Schema) -> Array:
    """Return (batch,) of bool: whether two models give a row the same class, the same labels, or nearly the same values."""
    if schema.task == "classification":
        found: Array = one.argmax(axis=1) == other.argmax(axis=1)
    elif schema.task == "multilabel":
        found = ((one >= 0.5) == (other >= 0.5)).all(axis=1)
    else:
        found = (np.abs(one - other) <= _SAME_VALUE * np.maximum(np.abs(one), 1e-9)).all(axis=1)
    return found


def _count(ledger: Ledger, result: str, rows: int) -> None:
    if rows:
        ledger.count("slipway_shadow_rows_total", {"result": result}, rows)
