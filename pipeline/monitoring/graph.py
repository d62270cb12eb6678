"""The network as a graph, once."""

import copy
from pathlib import Path

from pipeline.monitoring.monitor import Monitor
from pipeline.monitoring.undisturbed import first_rows
from pipeline.tracking import Tracker
from pipeline.tracking.graph import graph_bytes
from pipeline.training.batches import Batches
from pipeline.training.randomness import kept_rng
from pipeline.training.state import FitState
from serving.files import write_atomic


class Graph(Monitor):
    """Writes `graph.pb` and records it; a network that cannot be traced is left out with one event."""

    name = "graph"

    def __init__(self, validation: Batches, tracker: Tracker, out: Path) -> None:
        """Trace with two rows of `validation`."""
        self._validation, self._tracker, self._out = validation, tracker, out

    def at_start(self, state: FitState) -> None:
        """Trace a copy."""
        inputs, _ = first_rows(self._validation, 2)
        with kept_rng():
            payload, warned = graph_bytes(copy.deepcopy(state.net).eval(), inputs)
        write_atomic(self._out / "graph.pb", payload)
        self._tracker.graph("graph.pb")
        if warned:
            self._tracker.event("graph_incomplete", why=warned[0], warnings=len(warned))
